//! What things cost: a machine preset, in cycles.
//!
//! A preset is a TOML file with every field of [`Costs`] and nothing else. Three are compiled in;
//! a user's own is read with [`Costs::from_toml`]. A field that is missing, unknown, or outside
//! the range in which the machine's arithmetic is exact is an error that names it.
//!
//! ```
//! use emu::cost::Costs;
//!
//! let costs = Costs::preset("skylake-2s").unwrap();
//! assert_eq!(costs.cycles_from_us(50), u64::from(costs.fork_fixed));
//! ```

use std::ops::RangeInclusive;

use serde::Deserialize;

use devices::DiskTiming;
use mmu::{SECTOR_SIZE, TlbGeometry};

/// Names and texts of the presets that are compiled in.
const PRESETS: [(&str, &str); 3] = [
    ("skylake-2s", include_str!("../presets/skylake-2s.toml")),
    ("harpertown", include_str!("../presets/harpertown.toml")),
    ("kvm-guest", include_str!("../presets/kvm-guest.toml")),
];

const PRESET_NAMES: [&str; PRESETS.len()] = [PRESETS[0].0, PRESETS[1].0, PRESETS[2].0];

/// The most one thing may cost, in cycles: it fits a `u32`, and the product of it and a 32-bit
/// draw fits a `u64`.
const MOST: u64 = 1_000_000_000;

/// Why a preset cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CostError {
    /// The text is not TOML, or a field is missing, unknown, or not of its type.
    #[error("machine preset {origin}: {message}")]
    Toml {
        /// Where the text comes from.
        origin: String,
        /// What is wrong, and at which line.
        message: String,
    },
    /// A field has a value that the machine cannot use.
    #[error("machine preset {origin}: {field} = {value}; it must be {expected}")]
    Field {
        /// Where the text comes from.
        origin: String,
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What would be right.
        expected: String,
    },
}

/// Declares [`Costs`]: each number with its range, so that none can be without.
macro_rules! costs {
    ($( $(#[doc = $doc:literal])+ $field:ident: $type:ty = $low:literal ..= $high:expr, $unit:literal; )+) => {
        /// A machine preset. Costs are in cycles of [`hz`](Costs::hz) unless the name says
        /// otherwise.
        #[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Costs {
            /// What the preset is called in reports: 1 to 64 printable characters.
            pub name: String,
            $( $(#[doc = $doc])+ pub $field: $type, )+
        }

        impl Costs {
            fn check_ranges(&self, origin: &str) -> Result<(), CostError> {
                $( check_range(origin, stringify!($field), u64::from(self.$field), $low..=$high, $unit)?; )+
                Ok(())
            }
        }

        /// Name and range of each number.
        #[cfg(test)]
        const RANGES: &[(&str, u64, u64)] = &[$( (stringify!($field), $low, $high) ),+];
    };
}

costs! {
    /// Clock frequency, in cycles a second.
    hz: u64 = 1_000_000..=100_000_000_000, "cycles a second";
    /// CPUs on a socket: CPU `n` is on socket `n / cpus_per_socket`.
    cpus_per_socket: u32 = 1..=512, "CPUs";

    /// A load that hits the first-level cache.
    l1: u32 = 0..=MOST, "cycles";
    /// A load that hits the second-level cache.
    l2: u32 = 0..=MOST, "cycles";
    /// A load that hits the last-level cache; 0 on a machine without one.
    llc: u32 = 0..=MOST, "cycles";
    /// A load from memory of this socket.
    dram_local: u32 = 0..=MOST, "cycles";
    /// A load from memory of another socket.
    dram_remote: u32 = 0..=MOST, "cycles";
    /// The transfer of a cache line last written by another CPU of this socket.
    line_near: u32 = 0..=MOST, "cycles";
    /// The transfer of a cache line last written on another socket.
    line_far: u32 = 0..=MOST, "cycles";

    /// 4 KiB translations in the first-level data TLB.
    l1_tlb_entries: u32 = 1..=32_768, "entries";
    /// Ways of the first-level data TLB.
    l1_tlb_ways: u32 = 1..=64, "ways";
    /// 4 KiB translations in the second-level TLB; 0 on a machine without one.
    l2_tlb_entries: u32 = 0..=32_768, "entries";
    /// Ways of the second-level TLB; of no effect on a machine without one.
    l2_tlb_ways: u32 = 0..=64, "ways";
    /// 2 MiB translations in the first-level data TLB; a power of two.
    large_tlb_entries: u32 = 1..=32_768, "entries";
    /// A translation found in the second level after a miss in the first.
    tlb_l2_hit: u32 = 0..=MOST, "cycles";
    /// A page walk that starts from the paging-structure cache.
    walk_cached: u32 = 0..=MOST, "cycles";
    /// A page walk from the root.
    walk_full: u32 = 0..=MOST, "cycles";
    /// Invalidating one page of the current address space.
    invlpg: u32 = 0..=MOST, "cycles";
    /// Invalidating one page of another address space, by PCID; 0 on a machine without PCIDs.
    invlpg_pcid: u32 = 0..=MOST, "cycles";
    /// Loading CR3 with a flush of its address space.
    cr3_flush: u32 = 0..=MOST, "cycles";
    /// Loading CR3 without a flush; 0 on a machine without PCIDs.
    cr3_noflush: u32 = 0..=MOST, "cycles";

    /// Writing the interrupt command for the first target.
    ipi_send: u32 = 0..=MOST, "cycles";
    /// What each further target adds to the command.
    ipi_next_target: u32 = 0..=MOST, "cycles";
    /// From the command to the arrival at a CPU of the same socket.
    wire_near: u32 = 0..=MOST, "cycles";
    /// From the command to the arrival at a CPU of another socket.
    wire_far: u32 = 0..=MOST, "cycles";
    /// Entering an interrupt's handler.
    irq_entry: u32 = 0..=MOST, "cycles";
    /// Returning from an interrupt.
    irq_exit: u32 = 0..=MOST, "cycles";
    /// The fixed part of a cross-call's handler, between entry and exit.
    irq_handler: u32 = 0..=MOST, "cycles";
    /// The initiator's fixed part of a cross-call: filling the queues and the masks.
    call_overhead: u32 = 0..=MOST, "cycles";

    /// Entering the kernel by a system call, and returning.
    syscall: u32 = 0..=MOST, "cycles";
    /// Entering the kernel by a page fault, and returning.
    fault: u32 = 0..=MOST, "cycles";
    /// A fault that maps a new anonymous page, entry and return included.
    anon_fault: u32 = 0..=MOST, "cycles";
    /// A fault that breaks copy-on-write, entry, copy and return included.
    cow_fault: u32 = 0..=MOST, "cycles";
    /// Copying one page-table entry in fork.
    fork_entry: u32 = 0..=MOST, "cycles";
    /// Everything in fork that does not depend on the size of the address space.
    fork_fixed: u32 = 0..=MOST, "cycles";
    /// Switching from one task to another, the load of CR3 not included.
    context_switch: u32 = 0..=MOST, "cycles";
    /// The most that a halted CPU takes to leave its idle state when an interrupt wakes it; each
    /// time takes anything from nothing to this, as the depth of the state happens to be.
    idle_exit: u32 = 0..=MOST, "cycles";
    /// Copying 4 KiB.
    copy_page: u32 = 0..=MOST, "cycles";

    /// Timer interrupts a second on each CPU.
    tick_hz: u64 = 1..=10_000, "ticks a second";
    /// A task's time slice, in milliseconds.
    slice_ms: u64 = 1..=60_000, "milliseconds";

    /// From the start of a disk request to its first sector when the head must move, in
    /// microseconds.
    disk_access_us: u64 = 0..=10_000_000, "microseconds";
    /// The same when the request goes on where the last one ended, in microseconds.
    disk_sequential_us: u64 = 0..=10_000_000, "microseconds";
    /// What passes under the head, in bytes a second.
    disk_bytes_per_second: u64 = 1_000..=1_000_000_000_000, "bytes a second";
    /// Requests the disk takes at once.
    disk_queue: u32 = 1..=128, "requests";
    /// The longest request, in KiB.
    disk_request_kib: u32 = 4..=65_536, "KiB";

    /// How far a cost may lie from its number, either way, in percent; the seed decides.
    jitter_percent: u32 = 0..=50, "percent";
}

fn refused(
    origin: &str,
    field: &'static str,
    value: impl ToString,
    expected: impl Into<String>,
) -> CostError {
    CostError::Field {
        origin: origin.to_owned(),
        field,
        value: value.to_string(),
        expected: expected.into(),
    }
}

fn check_range(
    origin: &str,
    field: &'static str,
    value: u64,
    range: RangeInclusive<u64>,
    unit: &str,
) -> Result<(), CostError> {
    if range.contains(&value) {
        return Ok(());
    }
    let expected = format!("{} to {} {unit}", range.start(), range.end());
    Err(refused(origin, field, value, expected))
}

/// A TLB's sets are found by some bits of the page number: a power of two of them.
fn check_sets(
    origin: &str,
    field: &'static str,
    entries: u32,
    ways_field: &str,
    ways: u32,
) -> Result<(), CostError> {
    let sets = entries.checked_div(ways).unwrap_or(0);
    if sets.is_power_of_two() && entries.is_multiple_of(ways) {
        return Ok(());
    }
    let expected = match ways {
        0 => format!("0, or {ways_field} above 0"),
        _ => format!("{ways_field} ({ways}) times a power of two"),
    };
    Err(refused(origin, field, entries, expected))
}

impl Costs {
    /// The preset of that name, if it is compiled in.
    pub fn preset(name: &str) -> Option<Costs> {
        let (_, text) = PRESETS.iter().find(|(preset, _)| *preset == name)?;
        let costs = Costs::from_toml(text, name);
        Some(costs.unwrap_or_else(|error| panic!("a preset that is compiled in: {error}")))
    }

    /// The presets that are compiled in.
    pub fn preset_names() -> &'static [&'static str] {
        &PRESET_NAMES
    }

    /// Reads a preset. `origin` says in errors where the text comes from: a path, or a name.
    ///
    /// # Errors
    ///
    /// [`CostError::Toml`] with the line when the text is not TOML or a field is missing, unknown
    /// or not of its type; [`CostError::Field`] when a value is out of range.
    pub fn from_toml(text: &str, origin: &str) -> Result<Costs, CostError> {
        let costs: Costs = toml::from_str(text).map_err(|error| CostError::Toml {
            origin: origin.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        costs.check(origin)?;
        Ok(costs)
    }

    fn check(&self, origin: &str) -> Result<(), CostError> {
        self.check_name(origin)?;
        self.check_ranges(origin)?;
        self.check_tlb(origin)?;
        self.check_disk(origin)
    }

    fn check_name(&self, origin: &str) -> Result<(), CostError> {
        let printable = !self.name.chars().any(char::is_control);
        if printable && (1..=64).contains(&self.name.chars().count()) {
            return Ok(());
        }
        let shown = format!("{:?}", self.name);
        Err(refused(
            origin,
            "name",
            shown,
            "1 to 64 printable characters",
        ))
    }

    /// The rules of [`TlbGeometry::check`], in the words of this file's fields.
    fn check_tlb(&self, origin: &str) -> Result<(), CostError> {
        let (entries, ways) = (self.l1_tlb_entries, self.l1_tlb_ways);
        check_sets(origin, "l1_tlb_entries", entries, "l1_tlb_ways", ways)?;
        let (entries, ways) = (self.l2_tlb_entries, self.l2_tlb_ways);
        if entries > 0 {
            check_sets(origin, "l2_tlb_entries", entries, "l2_tlb_ways", ways)?;
        }
        let large = self.large_tlb_entries;
        if !large.is_power_of_two() {
            return Err(refused(
                origin,
                "large_tlb_entries",
                large,
                "a power of two",
            ));
        }
        Ok(())
    }

    /// The disk's times are in other units, so their bounds in cycles depend on the clock.
    fn check_disk(&self, origin: &str) -> Result<(), CostError> {
        let hz = self.hz;
        let most_us = scale(MOST, 1_000_000, hz);
        for (field, us) in [
            ("disk_access_us", self.disk_access_us),
            ("disk_sequential_us", self.disk_sequential_us),
        ] {
            if self.cycles_from_us(us) > MOST {
                let expected = format!("at most {most_us} microseconds with hz = {hz}");
                return Err(refused(origin, field, us, expected));
            }
        }
        if self.sector_cycles() > MOST {
            let least = scale(SECTOR_SIZE as u64, hz, MOST) + 1;
            let expected = format!("at least {least} bytes a second with hz = {hz}");
            let field = "disk_bytes_per_second";
            return Err(refused(origin, field, self.disk_bytes_per_second, expected));
        }
        Ok(())
    }

    /// Microseconds in cycles, rounded down; `u64::MAX` if it is more.
    #[inline]
    pub fn cycles_from_us(&self, us: u64) -> u64 {
        scale(us, self.hz, 1_000_000)
    }

    /// Milliseconds in cycles, rounded down; `u64::MAX` if it is more.
    #[inline]
    pub fn cycles_from_ms(&self, ms: u64) -> u64 {
        scale(ms, self.hz, 1_000)
    }

    /// Cycles in which a sector of 512 bytes passes under the disk's head; at least 1.
    #[inline]
    pub fn sector_cycles(&self) -> u64 {
        scale(SECTOR_SIZE as u64, self.hz, self.disk_bytes_per_second).max(1)
    }

    /// The shape of each CPU's TLB. The ranges of its fields fit 16 bits.
    pub fn tlb_geometry(&self) -> TlbGeometry {
        TlbGeometry {
            l1_entries: self.l1_tlb_entries as u16,
            l1_ways: self.l1_tlb_ways as u16,
            l2_entries: self.l2_tlb_entries as u16,
            l2_ways: self.l2_tlb_ways as u16,
            large_entries: self.large_tlb_entries as u16,
        }
    }

    /// The disk's timing.
    pub fn disk_timing(&self) -> DiskTiming {
        const SECTORS_PER_KIB: u32 = 1024 / SECTOR_SIZE as u32;
        DiskTiming {
            access_cycles: self.cycles_from_us(self.disk_access_us),
            sequential_cycles: self.cycles_from_us(self.disk_sequential_us),
            sector_cycles: self.sector_cycles(),
            queue: self.disk_queue as usize,
            max_request_sectors: self.disk_request_kib * SECTORS_PER_KIB,
        }
    }
}

/// `value * times / by` without an overflow in between.
#[inline]
fn scale(value: u64, times: u64, by: u64) -> u64 {
    let exact = u128::from(value) * u128::from(times) / u128::from(by);
    u64::try_from(exact).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn fields() -> Vec<&'static str> {
        let numbers = RANGES.iter().map(|(field, ..)| *field);
        std::iter::once("name").chain(numbers).collect()
    }

    /// A preset's text without `field`, and with `line` at the end.
    fn edited(text: &str, field: &str, line: &str) -> String {
        let is_it = |l: &&str| l.split('=').next().is_some_and(|key| key.trim() == field);
        let kept: Vec<&str> = text.lines().filter(|l| !is_it(l)).collect();
        assert_eq!(
            kept.len() + 1,
            text.lines().count(),
            "{field} is not there once"
        );
        format!("{}\n{line}\n", kept.join("\n"))
    }

    /// Calls everything that computes; overflow checks are on in tests.
    fn exercise(costs: &Costs) {
        let timing = costs.disk_timing();
        assert!(timing.queue > 0 && timing.max_request_sectors > 0);
        assert!((1..=MOST).contains(&timing.sector_cycles));
        // A product with a draw of 32 bits is how jitter is made.
        for cycles in [timing.access_cycles, timing.sequential_cycles] {
            assert!(cycles.checked_mul(u64::from(u32::MAX)).is_some());
        }
        assert!(costs.hz / costs.tick_hz > 0);
        // A second of time slices and a day fit without reaching the limit.
        assert!(costs.cycles_from_ms(costs.slice_ms) < u64::MAX);
        assert!(costs.cycles_from_ms(86_400_000) < u64::MAX);
        assert_eq!(costs.tlb_geometry().check(), Ok(()));
    }

    #[test]
    fn each_preset_is_valid_and_bears_its_name() {
        assert_eq!(
            Costs::preset_names(),
            ["skylake-2s", "harpertown", "kvm-guest"]
        );
        for name in Costs::preset_names() {
            let costs = Costs::preset(name).unwrap();
            assert_eq!(costs.name, *name);
            exercise(&costs);
        }
        assert_eq!(Costs::preset("skylake"), None);
    }

    #[test]
    fn a_guest_differs_from_its_host_by_the_exits_it_takes() {
        let host = Costs::preset("skylake-2s").unwrap();
        let percent = |cost: u32, by: u32| cost * by / 100;
        let guest = Costs {
            name: "kvm-guest".to_owned(),
            walk_cached: percent(host.walk_cached, 220),
            walk_full: percent(host.walk_full, 220),
            ipi_send: host.ipi_send + 2_000,
            wire_near: host.wire_near + 1_000,
            wire_far: host.wire_far + 1_000,
            anon_fault: percent(host.anon_fault, 115),
            cow_fault: percent(host.cow_fault, 115),
            jitter_percent: 20,
            ..host
        };
        assert_eq!(Costs::preset("kvm-guest"), Some(guest));
    }

    #[test]
    fn times_become_cycles_of_the_presets_clock() {
        let costs = Costs::preset("skylake-2s").unwrap();
        // 50 us are the fixed part of fork.
        assert_eq!(costs.cycles_from_us(50), u64::from(costs.fork_fixed));
        assert_eq!(costs.cycles_from_ms(100), 250_000_000);
        assert_eq!(costs.cycles_from_us(u64::MAX), u64::MAX);
        // 512 bytes at 80 MB/s are 6.4 us.
        assert_eq!(costs.sector_cycles(), 16_000);
        assert_eq!(
            costs.disk_timing(),
            DiskTiming {
                access_cycles: 10_000_000,
                sequential_cycles: 0,
                sector_cycles: 16_000,
                queue: 128,
                max_request_sectors: 1_024,
            }
        );
    }

    #[test]
    fn a_number_is_accepted_up_to_its_bounds_and_refused_beyond() {
        for &(field, low, high) in RANGES {
            let with = |value: u64| {
                Costs::from_toml(
                    &edited(PRESETS[0].1, field, &format!("{field} = {value}")),
                    "test",
                )
            };
            for value in [low.checked_sub(1), high.checked_add(1)]
                .into_iter()
                .flatten()
            {
                match with(value) {
                    Err(CostError::Field {
                        field: named,
                        value: shown,
                        expected,
                        ..
                    }) => {
                        assert_eq!((named, shown), (field, value.to_string()));
                        assert!(expected.contains(&low.to_string()), "{expected}");
                        assert!(expected.contains(&high.to_string()), "{expected}");
                    }
                    other => panic!("{field} = {value}: {other:?}"),
                }
            }
            // At a bound only the shape of a TLB or a time in cycles can still be wrong.
            for value in [low, high] {
                match with(value) {
                    Ok(costs) => exercise(&costs),
                    Err(CostError::Field { expected, .. }) => {
                        let other_rule = field.contains("_tlb_") || field.starts_with("disk_");
                        assert!(other_rule, "{field} = {value}: {expected}");
                        assert!(!expected.starts_with(&format!("{low} to ")), "{expected}");
                    }
                    Err(other) => panic!("{field} = {value}: {other}"),
                }
            }
        }
    }

    #[test]
    fn an_impossible_tlb_is_refused_with_what_would_be_possible() {
        let error = |field, line| {
            let text = edited(PRESETS[0].1, field, line);
            Costs::from_toml(&text, "mine.toml")
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            error("l1_tlb_entries", "l1_tlb_entries = 65"),
            "machine preset mine.toml: l1_tlb_entries = 65; \
             it must be l1_tlb_ways (4) times a power of two"
        );
        // A multiple of the ways, but 3 sets.
        assert!(error("l1_tlb_entries", "l1_tlb_entries = 12").contains("power of two"));
        assert_eq!(
            error("l2_tlb_ways", "l2_tlb_ways = 0"),
            "machine preset mine.toml: l2_tlb_entries = 1536; it must be 0, or l2_tlb_ways above 0"
        );
    }

    #[test]
    fn a_disk_too_slow_for_the_clock_is_refused_with_what_would_do() {
        // 10^9 cycles of 2.5 GHz are 0.4 s.
        for (field, beyond, expected) in [
            ("disk_access_us", 400_001, "at most 400000 microseconds"),
            ("disk_sequential_us", 400_001, "at most 400000 microseconds"),
            (
                "disk_bytes_per_second",
                1_279,
                "at least 1281 bytes a second",
            ),
        ] {
            let text = edited(PRESETS[0].1, field, &format!("{field} = {beyond}"));
            let error = Costs::from_toml(&text, "test").unwrap_err().to_string();
            assert!(
                error.contains(&format!("{field} = {beyond}; it must be {expected}")),
                "{error}"
            );
        }
        let text = edited(PRESETS[0].1, "disk_access_us", "disk_access_us = 400000");
        exercise(&Costs::from_toml(&text, "test").unwrap());
    }

    #[test]
    fn a_machine_may_have_no_second_level_tlb() {
        let text = edited(PRESETS[0].1, "l2_tlb_entries", "l2_tlb_entries = 0");
        let costs = Costs::from_toml(&text, "test").unwrap();
        assert_eq!(costs.tlb_geometry().l2_entries, 0);
        exercise(&costs);
    }

    #[test]
    fn a_name_must_fit_in_a_report() {
        for name in ["", "a\\nb", &"x".repeat(65)] {
            let text = edited(PRESETS[0].1, "name", &format!("name = \"{name}\""));
            match Costs::from_toml(&text, "test") {
                Err(CostError::Field { field, .. }) => assert_eq!(field, "name"),
                other => panic!("{name:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_missing_field_is_named() {
        for field in fields() {
            let text = edited(PRESETS[1].1, field, "");
            let error = Costs::from_toml(&text, "mine.toml")
                .unwrap_err()
                .to_string();
            assert!(
                error.contains(&format!("missing field `{field}`")),
                "{error}"
            );
            assert!(error.contains("mine.toml"), "{error}");
        }
    }

    #[test]
    fn an_unknown_field_is_named_with_its_line() {
        let text = format!("wire_middle = 3\n{}", PRESETS[0].1);
        let error = Costs::from_toml(&text, "mine.toml")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("wire_middle") && error.contains("line 1"),
            "{error}"
        );
    }

    /// Values that have broken parsers and arithmetic before.
    const EXTREMES: &str = "0|1|3|-1|2147483648|4294967295|4294967296|9223372036854775807|\
        -9223372036854775808|18446744073709551615|99999999999999999999999|1.5|nan|true|\"12\"|[]|\
        { a = 1 }|";

    fn extreme() -> impl Strategy<Value = &'static str> {
        select(EXTREMES.split('|').collect::<Vec<_>>())
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC*|(?s).*") {
            prop_assert!(Costs::from_toml(&text, "test").is_err());
        }

        #[test]
        fn no_list_of_fields_makes_the_reader_panic(
            lines in proptest::collection::vec((select(fields()), extreme()), 0..80),
        ) {
            let text: String = lines.iter().map(|(field, value)| format!("{field} = {value}\n")).collect();
            if let Ok(costs) = Costs::from_toml(&text, "test") {
                exercise(&costs);
            }
        }

        #[test]
        fn one_extreme_value_is_either_usable_or_refused_by_name(
            preset in 0..PRESETS.len(),
            field in select(fields()),
            value in prop_oneof![
                extreme().prop_map(str::to_owned),
                any::<u64>().prop_map(|v| v.to_string()),
                (0..200_000u64).prop_map(|v| v.to_string()),
            ],
        ) {
            let text = edited(PRESETS[preset].1, field, &format!("{field} = {value}"));
            match Costs::from_toml(&text, "test") {
                Ok(costs) => exercise(&costs),
                Err(error) => prop_assert!(error.to_string().contains(field), "{}", error),
            }
        }
    }
}
