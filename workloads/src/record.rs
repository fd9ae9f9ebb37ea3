//! The record: the rows that mailing lists and a bug report give, in short, with where each is
//! said. What the machine makes of them is in the verdicts of the reproducers.
//!
//! Sources: `000` is Red Hat bug 471613 (2008 to 2010) with the number of the comment, `001` the
//! linux-mm thread "fork vs gup(-fast) fix" of 2009 with date and time. The rows U are changes of
//! mainline, with commit and release. Rows about page migration, exec and direct-access files are
//! not listed: nothing here models those yet.

/// A row of the record.
#[derive(Clone, Copy, Debug)]
pub struct Recorded {
    /// Its id.
    pub row: &'static str,
    /// The race.
    pub race: &'static str,
    /// What it is.
    pub what: &'static str,
    /// The verdict words that the record gives; several where they depend on more.
    pub gives: &'static str,
    /// Where it is said.
    pub source: &'static str,
}

const fn row(
    row: &'static str,
    race: &'static str,
    what: &'static str,
    gives: &'static str,
    source: &'static str,
) -> Recorded {
    Recorded {
        row,
        race,
        what,
        gives,
        source,
    }
}

/// The row that a row or sub-row belongs to: `B40` for `B40.lockless`.
pub fn base(row: &str) -> &str {
    row.split('.').next().unwrap_or(row)
}

/// The rows, in the order of the record.
#[rustfmt::skip]
pub const RECORD: &[Recorded] = &[
    row("A01", "FWD", "no fix, a read into a buffer at page + 512", "CORRUPT", "000 description, c65"),
    row("A02", "FWD", "no fix: the first 512 bytes of a page are lost", "CORRUPT", "000 description, c91"),
    row("A03", "FWD", "no fix: the last 3584 bytes of a page are lost", "CORRUPT", "000 description"),
    row("A04", "FWD", "control: buffers of whole pages", "CLEAN", "000 description"),
    row("A05", "FWD", "controls: the child stores first, or has exited", "CLEAN", "follows from 000 c65"),
    row("A06", "FWD", "the scripted reproducer, no fix", "CORRUPT", "000 c65; 001 03-16 13:56"),
    row("A07", "FWD", "what the scripted reproducer prints with each kind of fix", "CLEAN", "derived from the script"),
    row("A08", "FWD", "many threads read 512 bytes each into one page", "CORRUPT", "000 c51, c55, c61"),
    row("A09", "SNAP", "a user-space lock around fork for a list of thread stacks", "HANG", "000 c14, c16 to c23"),
    row("A10", "FWD", "fork copies a page whose count is not its mappings'", "CORRUPT", "000 c7, c9"),
    row("A11", "FWD", "the same, tested under the page lock", "CLEAN", "000 c9, c10"),
    row("A12", "SNAP", "the parent's entry stays read-only during fork's copy", "TORN, LEAK", "000 c28, c33, c35, c105"),
    row("A13", "SNAP", "the same without the leak", "TORN", "000 c36"),
    row("A14", "COST", "references of per-CPU batches look like pins", "COST", "000 c56, c86"),
    row("A20", "FWD", "page lock held over the DMA, and taken by copy-on-write", "CORRUPT, COST", "000 c26, c27, c39, c50, c77"),
    row("A21", "FWD", "page lock taken by the pin itself", "CLEAN, COST", "000 c27, c79, c80, c86"),
    row("A22", "FWD", "a reader/writer semaphore per page, first edition", "CORRUPT", "000 c46 to c49, c51, c53"),
    row("A23", "FWD", "that semaphore held to the last completion", "CORRUPT", "000 c53 to c55, c59, c61, c73"),
    row("A24", "FWD", "that semaphore taken where the pin is taken", "CLEAN, COST", "000 c49, c54, c58"),
    row("A25", "FWD", "that semaphore taken inside an exclusive mmap_sem", "DEADLOCK", "000 c84, c85, c87"),
    row("A26", "FWD", "the same, each batch submitted before the next is pinned", "CLEAN, COST", "000 c87, c88, c97"),
    row("A27", "HUGE", "huge pages: copy-on-write locks the new page", "CORRUPT", "000 c70, c71"),
    row("A28", "HUGE", "huge pages: copy-on-write locks the old page", "ATOMIC, CORRUPT", "000 c72"),
    row("A30", "FWD", "ranges of direct I/O and copy-on-write exclude each other", "CLEAN, COST, LIVELOCK", "000 c78; 001 03-16 23:59"),
    row("A31", "FWD", "range lock: who submits faults in its own range", "LIVELOCK", "001 03-16 23:59"),
    row("A32", "FWD", "range lock: a first page that is partly used is outside", "CORRUPT", "001 03-16 23:59"),
    row("A33", "HUGE", "range lock: a size is given where an end is asked for", "CORRUPT", "001 03-16 23:59"),
    row("A34", "CTX", "range lock: the last user of the address space goes in completion", "ATOMIC", "001 03-16 23:59"),
    row("A35", "CTX", "range lock: a wait that a signal ended counts as success", "BUG", "001 03-16 23:59"),
    row("A40", "FWD", "sticky mark on pinned pages, first edition", "CORRUPT", "000 c86, c91 to c97"),
    row("A41", "FWD", "the mark set by every pin", "CLEAN", "000 c98, c99, c102"),
    row("A42", "HUGE", "the same rule for huge pages, allocation outside of spinlocks", "CLEAN", "000 c64, c69, c103, c104; 001 03-16 13:56"),
    row("A43", "SNAP", "fork flushes before it copies", "CLEAN", "000 c28, c105, c106"),
    row("A44", "TAKEOVER", "no fix: a busy page lock makes copy-on-write copy", "CORRUPT", "000 c107"),
    row("A45", "TAKEOVER", "wait for the page lock, then decide", "CLEAN", "000 c107, c108; 001 03-16 18:28"),
    row("A46", "CTX", "an allocation while a page table is mapped atomically", "ATOMIC", "000 c118, c122, c123"),
    row("A47", "CTX", "two page-table locks of one class, taken again", "INVERT", "000 c118 to c121"),
    row("A48", "CTX", "fork allocates without sleeping", "COST", "000 c119, c120"),
    row("A49", "CTX", "locks annotated, page tables unmapped before the allocation", "CLEAN", "000 c121, c124, c126, c128, c141"),
    row("A50", "SWPENT", "write permission given back to what is a swap entry by now", "SWAPENT", "000 c146, c147; 001 03-16 13:56"),
    row("A51", "SWPENT", "given back only to a present entry", "CLEAN", "000 c147, c148"),
    row("A52", "FAST", "the lockless pin added to the sticky mark", "CORRUPT", "000 c131, c134, c138, c141, c143, c170"),
    row("A53", "CTX", "a suspected release before acquire at submission", "CLEAN", "000 c97, c100, c101"),
    row("A54", "COST", "fork's price with A41 and A49", "COST", "000 c102, c113"),
    row("A56", "FWD", "fork tests only pages whose entry was writable", "CORRUPT", "001 03-16 13:56"),
    row("B01", "FAST", "the lockless pin marks, and does not look again", "CORRUPT", "001 03-11 19:01"),
    row("B02", "FAST", "the lockless pin marks, and looks again", "CLEAN", "001 03-11 19:59, 20:19"),
    row("B04", "FAST", "fork tests the mark before it takes write access away", "CORRUPT", "contrast to 001 03-11 19:15"),
    row("B05", "COST", "two atomics a lockless pin; huge pages lose their one addition", "COST", "001 03-11 19:01, 19:59, 20:19, 03-16 16:01"),
    row("B06", "FWD", "the first owner always keeps the page", "CORRUPT, COST", "001 03-11 19:01, 19:59, 20:19, 03-14 05:20"),
    row("B07", "FWD", "one read pin on a read-only page, and its direction remembered", "COST", "001 03-14 05:20"),
    row("B08", "FWD", "mmap_sem shared over the whole I/O", "DEADLOCK, COST", "001 03-11 20:33 to 21:57, 03-14 05:07"),
    row("B09", "FWD", "document it; vfork and exec; whole pages only", "CORRUPT", "001 03-11 17:58, 18:37, 20:19, 22:06"),
    row("B10", "FWD", "buffers left out at fork", "CLEAN", "001 03-11 19:06, 03-12 05:36, 03-14 05:06"),
    row("B11", "FWD", "buffers copied at fork, by hand", "CLEAN, COST", "001 03-12 05:36"),
    row("B12", "FWD", "the first pin marks the mapping, the lockless one the page", "CORRUPT, BUG, LEAK, COST", "001 03-12 16:23 to 18:06, 03-13 16:09"),
    row("B13", "FWD", "a mark per page, none on the mapping", "BUG, LEAK, COST", "001 03-14 04:46, 05:06"),
    row("B14", "FWD", "the same: no barrier and no second look in the lockless pin", "CLEAN", "001 03-13 19:34, 03-16 13:56, 16:01, 03-17 05:42"),
    row("B18", "FWD", "retry for the assertion, and no leak", "CLEAN, COST", "001 03-16 16:01"),
    row("B21", "REV", "no fix: the child's store reaches the parent's outgoing I/O", "CORRUPT", "001 03-14 04:59"),
    row("B22", "REV", "the same with sticky mark and second look", "CORRUPT", "001 03-13 16:09, 03-16 13:56"),
    row("B23", "REV", "a pin without write access breaks copy-on-write", "CLEAN", "001 03-16 13:56"),
    row("B24", "COST", "then no read pin of anonymous pages is lockless", "COST", "001 03-16 13:56, 16:01"),
    row("B25", "SWPENT", "the same patch gives write permission back to any entry", "SWAPENT", "001 03-16 13:56"),
    row("B26", "CTX", "its error path, and its look-up of huge pages", "LEAK, DEADLOCK", "001 03-16 13:56"),
    row("B31", "FWD", "direct-I/O calls share a semaphore that fork takes alone", "CORRUPT", "001 03-16 16:01, 16:23, 18:37, 03-17 00:56"),
    row("B32", "REV", "the same against the reverse race", "CORRUPT", "001 03-16 16:50, 17:19"),
    row("B33", "FWD", "the same against other users of pins", "CORRUPT", "001 03-16 16:23, 16:50"),
    row("B34", "FWD", "who pins holds the lock for as long as the pin", "COST", "001 03-16 16:32, 17:02, 17:19, 17:42"),
    row("B35", "REV", "written in place only with a count of exactly 1", "CLEAN", "001 03-17 00:44"),
    row("B36", "SWAPRO", "the same rule, and a pinned page goes to swap and comes back", "CORRUPT", "001 03-17 12:19, 16:43"),
    row("B37", "DIRTYLOSS", "the device writes a page that reclaim takes for clean", "CORRUPT", "001 03-17 17:01, 17:10, 17:43"),
    row("B38", "SWAPRO", "no swap slot for a page with more references than mappings", "CORRUPT, COST", "001 03-17 18:09 to 19:55"),
    row("B39", "SWAPRO", "a pin counts as a use of the page", "CORRUPT", "001 03-17 18:19"),
    row("B40", "SWAPRO", "reclaim unmaps no page with foreign references", "CLEAN, CORRUPT", "000 c107; 001 03-16 18:28, 03-17 18:46 to 19:35"),
    row("B41", "REV", "same-page merging: clear, flush, then compare counts", "CLEAN", "001 03-11 19:59, 03-16 13:56"),
    row("B50", "FWD", "semaphore held to completion, and pins break copy-on-write early", "CLEAN, COST", "001 03-22 12:23, 03-23 00:13, 16:29"),
    row("B51", "FWD", "the same against pins that do not come through its entry", "CORRUPT", "001 03-24 13:43, 04-03 03:49"),
    row("B52", "COST", "the same only for anonymous pages, or only when pinning", "COST", "001 03-23 16:46, 03-24 13:43, 03-30 10:52, 04-03 03:49"),
    row("B53", "COST", "pins counted in the root of the reverse map", "COST", "001 03-30 10:52"),
    row("U01", "FWD", "advice to leave memory out at fork", "CLEAN", "f822566165dd, 2.6.16"),
    row("U02", "TAKEOVER", "the pin goes on asking for write access; copy-on-write waits for the page lock", "CLEAN; FWD, REV, FAST, SWFORK as before", "878b63ac889d, ab967d86015a, 2.6.29"),
    row("U03", "REV", "reuse decided by mappings and swap references, not by the count", "REV possible", "c475a8ab625d"),
    row("U09", "FWD", "pins counted apart, by 1024; the address space remembers that it pinned", "CORRUPT alone", "eddb1c228f79, 5.6; 3faa52c03f44, 5.7"),
    row("U10", "REV", "every look-up that takes a reference un-shares", "CLEAN", "17839856fd58, 5.8"),
    row("U11", "REV", "reuse only with a count of 1; early un-sharing removed", "CLEAN; CORRUPT with swap", "09854ba94c6a and others, 5.9"),
    row("U12", "SWAPRO", "reclaim inserts no page that may be pinned", "CLEAN; CORRUPT if already in the swap cache", "feb889fb40fa, 5.11"),
    row("U13", "FWD", "fork copies a page that may be pinned", "CLEAN slow, CORRUPT lockless", "008cfe4418b3, 70e806e4e645, 5.9"),
    row("U14", "FAST", "the clear, test, restore of the first version dropped", "leaves FAST open", "f3c64eda3e50, 5.9"),
    row("U15", "FAST", "a sequence count around fork that the lockless pin reads twice", "CLEAN", "57efa1fe5957, 5.11"),
    row("U16", "HUGE", "U13 for huge pages", "CLEAN", "4eae4efa2c29, 5.12"),
    row("U17", "COST", "batches and swap cache let go before the count is looked at", "COST within budget", "c145e0b47c77, 53a05ad9f21d, 5.18"),
    row("U18", "FWD", "a mark for pages that one address space has alone", "CLEAN; CORRUPT for plain references", "6c287605fd56, 5.19"),
    row("U19", "REV", "a read pin of a page that is not exclusive un-shares it", "CLEAN", "a7f226604170, 5.19"),
    row("U20", "FAST", "barriers and a second look around that mark", "CORRUPT without, CLEAN with", "088b8aa537c2, 6.1"),
    row("U21", "REV", "long-term read pins of private file pages un-share", "CLEAN", "8d6a0ac09a16, 84209e87c696, 6.2"),
    row("U22", "FWD", "direct I/O takes pins", "CLEAN", "a7e689dd1c06, 1ccf164ec866, 6.5"),
    row("U28", "FWD", "the vendor's builds 133 to 159", "as each build", "000 c102 to c170"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CATALOGUE;

    #[test]
    fn every_row_of_a_group_is_in_the_record_and_races_agree_with_it_in_name() {
        let races: std::collections::BTreeSet<&str> = RECORD.iter().map(|it| it.race).collect();
        for verdict in CATALOGUE.iter().flat_map(|it| it.verdicts()) {
            let row = base(verdict.row);
            let group = row.trim_end_matches(|it: char| it.is_ascii_digit());
            if ["A", "B", "U"].contains(&group) && group.len() < row.len() {
                assert!(
                    RECORD.iter().any(|it| it.row == row),
                    "{row} is not recorded"
                );
            }
            assert!(
                verdict.race.is_empty()
                    || races.contains(verdict.race)
                    || ["SWFORK"].contains(&verdict.race),
                "{}: no race {}",
                verdict.row,
                verdict.race
            );
        }
    }
}
