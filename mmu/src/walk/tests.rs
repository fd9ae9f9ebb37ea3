use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const ROOT: Pfn = Pfn::new(1);
const RWU: PteFlags = PteFlags::R.union(PteFlags::W).union(PteFlags::U);
const VA: VirtAddr = VirtAddr::new(0x7f12_3456_7000);

/// A memory, and an allocator of tables that counts up from 2.
struct Machine {
    memory: PhysMemory,
    next: u32,
    cache: WalkCache,
}

impl Machine {
    fn new() -> Machine {
        Machine {
            memory: PhysMemory::new(4096),
            next: 1,
            cache: WalkCache::new(),
        }
    }

    fn map(&mut self, va: VirtAddr, pte: Pte) -> PhysAddr {
        map(&mut self.memory, ROOT, va, pte, &mut || {
            self.next += 1;
            Pfn::new(self.next)
        })
    }

    fn map_large(&mut self, va: VirtAddr, pte: Pte) -> PhysAddr {
        map_large(&mut self.memory, ROOT, va, pte, &mut || {
            self.next += 1;
            Pfn::new(self.next)
        })
    }

    fn walk(&mut self, va: VirtAddr, access: AccessKind) -> Result<Translation, WalkFault> {
        walk(&mut self.memory, ROOT, va, access, true, &mut self.cache)
    }

    fn fault(&mut self, va: VirtAddr, access: AccessKind) -> (FaultKind, u8) {
        let fault = self.walk(va, access).unwrap_err();
        assert_eq!(fault.pte.raw(), self.memory.read_u64(fault.pte_addr));
        (fault.kind, fault.level)
    }
}

#[test]
fn a_read_marks_accessed_and_a_write_dirty_each_once() {
    let mut machine = Machine::new();
    let at = machine.map(VA, Pte::leaf(Pfn::new(900), RWU));
    let marks = |machine: &Machine| {
        let pte = Pte::from_raw(machine.memory.read_u64(at));
        (pte.accessed(), pte.dirty())
    };
    assert_eq!(marks(&machine), (false, false));
    let read = machine.walk(VA, AccessKind::Read).unwrap();
    assert_eq!(
        (read.pfn, read.pte_addr, read.set_bits),
        (Pfn::new(900), at, true)
    );
    assert_eq!(marks(&machine), (true, false));
    assert!(!machine.walk(VA, AccessKind::Read).unwrap().set_bits);
    assert!(machine.walk(VA, AccessKind::Write).unwrap().set_bits);
    assert_eq!(marks(&machine), (true, true));
    assert!(!machine.walk(VA, AccessKind::Write).unwrap().set_bits);
}

#[test]
fn a_refused_write_leaves_the_entry_alone() {
    let mut machine = Machine::new();
    let pte = Pte::leaf(Pfn::new(900), PteFlags::R | PteFlags::U);
    let at = machine.map(VA, pte);
    assert_eq!(
        machine.fault(VA, AccessKind::Write),
        (FaultKind::Protection, 0)
    );
    assert_eq!(machine.memory.read_u64(at), pte.raw());
}

#[test]
fn permissions_follow_mode_and_kind() {
    let all = RWU | PteFlags::X;
    let kernel = all - PteFlags::U;
    for (flags, user, allowed) in [
        (all, true, [true, true, true]),
        // The kernel reads and writes what belongs to user mode, but never runs it.
        (all, false, [true, true, false]),
        (kernel, false, [true, true, true]),
        (kernel, true, [false, false, false]),
        (PteFlags::R | PteFlags::U, true, [true, false, false]),
        (PteFlags::X | PteFlags::U, true, [false, false, true]),
    ] {
        let answers = [AccessKind::Read, AccessKind::Write, AccessKind::Execute]
            .map(|access| access.allowed(flags, user));
        assert_eq!(answers, allowed, "{flags} user {user}");
    }
}

#[test]
fn the_fault_names_the_level_that_stopped_it() {
    let mut machine = Machine::new();
    assert_eq!(
        machine.fault(VA, AccessKind::Read),
        (FaultKind::NotPresent, 3)
    );
    machine.map(VA, Pte::NONE);
    assert_eq!(
        machine.fault(VA, AccessKind::Read),
        (FaultKind::NotPresent, 0)
    );
    assert_eq!(
        machine.fault(VA + (2 << 20), AccessKind::Read),
        (FaultKind::NotPresent, 1)
    );
    let high = VirtAddr::new(VA.get() | 1 << 50);
    assert_eq!(
        machine.fault(high, AccessKind::Read),
        (FaultKind::NotPresent, 3)
    );
}

#[test]
fn no_word_that_a_guest_writes_makes_the_walker_panic_or_leave_memory() {
    let good = Pte::leaf(Pfn::new(900), RWU).raw();
    for raw in [
        Pte::leaf(Pfn::new(4096), RWU).raw(),
        Pte::leaf(Pfn::new(900), PteFlags::W | PteFlags::U).raw(),
        Pte::table(Pfn::new(900)).raw(),
        good | 1 << 54,
        good | 1 << 63,
        good & !1,
        u64::MAX,
    ] {
        let mut machine = Machine::new();
        machine.map(VA, Pte::from_raw(raw));
        assert_eq!(
            machine.fault(VA, AccessKind::Read),
            (FaultKind::NotPresent, 0),
            "{raw:#x}"
        );
    }
    // A pointer beyond memory, a misaligned large leaf, a large leaf that does not fit.
    for raw in [
        Pte::table(Pfn::new(4096)).raw(),
        good,
        Pte::leaf(Pfn::new(4096), RWU).raw(),
    ] {
        let mut machine = Machine::new();
        machine.map_large(VA, Pte::from_raw(raw));
        assert_eq!(
            machine.fault(VA, AccessKind::Read),
            (FaultKind::NotPresent, 1),
            "{raw:#x}"
        );
        assert!(lookup(&machine.memory, ROOT, VA).is_some());
        for_each_table(&machine.memory, ROOT, |table, _| {
            assert!(table.get() < 4096)
        });
    }
}

#[test]
fn the_cache_shortens_a_walk_and_keeps_a_pointer_that_the_tables_lost() {
    let mut machine = Machine::new();
    machine.map(VA, Pte::leaf(Pfn::new(900), RWU));
    assert_eq!(machine.walk(VA, AccessKind::Read).unwrap().levels_read, 4);
    assert_eq!(machine.walk(VA, AccessKind::Read).unwrap().levels_read, 1);
    machine.memory.write_u64(entry_addr(ROOT, VA, 3), 0);
    assert_eq!(
        machine.walk(VA, AccessKind::Read).unwrap().pfn,
        Pfn::new(900)
    );
    machine.cache.flush();
    assert_eq!(
        machine.fault(VA, AccessKind::Read),
        (FaultKind::NotPresent, 3)
    );
}

#[test]
fn a_large_leaf_translates_each_of_its_512_frames() {
    let mut machine = Machine::new();
    let base = VirtAddr::new(0x4000_0000);
    let at = machine.map_large(base, Pte::leaf(Pfn::new(1024), RWU));
    for page in [0, 1, 511] {
        let va = base + page * 4096 + 5;
        let found = machine.walk(va, AccessKind::Read).unwrap();
        assert_eq!(
            (found.pfn, found.size),
            (Pfn::new(1024 + page as u32), PageSize::Large)
        );
        assert_eq!(lookup(&machine.memory, ROOT, va), Some((at, found.pte)));
        assert_eq!(leaf_entry_addr(&machine.memory, ROOT, va), None);
    }
    machine.cache.flush();
    let levels_read = machine.walk(base, AccessKind::Read).unwrap().levels_read;
    assert_eq!(levels_read, 3, "one level fewer than for a small page");
    let mut seen = Vec::new();
    for_each_leaf(&machine.memory, ROOT, |va, at, _| seen.push((va, at)));
    assert_eq!(seen, [(base, at)]);
}

#[test]
fn an_empty_entry_in_a_table_is_found_and_a_missing_table_is_not() {
    let mut machine = Machine::new();
    assert_eq!(lookup(&machine.memory, ROOT, VA), None);
    let at = machine.map(VA, Pte::NONE);
    assert_eq!(lookup(&machine.memory, ROOT, VA), Some((at, Pte::NONE)));
    assert_eq!(leaf_entry_addr(&machine.memory, ROOT, VA), Some(at));
}

#[test]
fn a_frame_with_old_bytes_becomes_an_empty_table() {
    let mut machine = Machine::new();
    for frame in 2..5 {
        machine
            .memory
            .bytes_mut(Pfn::new(frame).base(), PAGE_SIZE)
            .fill(0xff);
    }
    machine.map(VA, Pte::NONE);
    for_each_leaf(&machine.memory, ROOT, |va, _, pte| panic!("{va} has {pte}"));
}

#[test]
fn tables_are_visited_before_those_below_them() {
    let mut machine = Machine::new();
    machine.map(VA, Pte::leaf(Pfn::new(900), RWU));
    machine.map(VA + (2 << 20), Pte::leaf(Pfn::new(901), RWU));
    let mut seen = Vec::new();
    for_each_table(&machine.memory, ROOT, |table, level| {
        seen.push((table.get(), level))
    });
    assert_eq!(seen, [(1, 3), (2, 2), (3, 1), (4, 0), (5, 0)]);
}

/// Pages that share tables at every level and not, in both halves.
fn page() -> impl Strategy<Value = VirtAddr> {
    let part = prop_oneof![Just(0u64), Just(1), Just(2), Just(511)];
    (part.clone(), part.clone(), part.clone(), part).prop_map(|(a, b, c, d)| {
        let low = a << 39 | b << 30 | c << 21 | d << 12;
        sign_extend(low)
    })
}

proptest! {
    #[test]
    fn tables_hold_what_was_mapped_last(
        maps in prop::collection::vec((page(), 0u32..4096, any::<bool>()), 1..60),
        probes in prop::collection::vec(page(), 20),
    ) {
        let mut machine = Machine::new();
        let mut model = BTreeMap::new();
        for &(va, frame, writable) in &maps {
            let mut flags = PteFlags::R | PteFlags::U;
            flags.set(PteFlags::W, writable);
            // Frames below 1024 stand for entries that are swapped out.
            let pte = match frame {
                0..1024 => Pte::swap(crate::SwapEntry { area: 1, offset: frame }),
                _ => Pte::leaf(Pfn::new(frame), flags),
            };
            machine.map(va, pte);
            model.insert(va, pte);
        }
        let mut seen = Vec::new();
        for_each_leaf(&machine.memory, ROOT, |va, at, pte| {
            assert_eq!(machine.memory.read_u64(at), pte.raw());
            seen.push((va, pte));
        });
        prop_assert_eq!(seen, model.clone().into_iter().collect::<Vec<_>>());
        for va in probes.into_iter().chain(maps.iter().map(|map| map.0)) {
            let expected = model.get(&va).copied().unwrap_or(Pte::NONE);
            let found = lookup(&machine.memory, ROOT, va).map_or(Pte::NONE, |found| found.1);
            prop_assert_eq!(found, expected);
            prop_assert_eq!(
                leaf_entry_addr(&machine.memory, ROOT, va),
                lookup(&machine.memory, ROOT, va).map(|found| found.0)
            );
            match machine.walk(va + 9, AccessKind::Write) {
                Ok(found) => {
                    prop_assert!(expected.is_leaf() && expected.writable());
                    prop_assert_eq!(found.pfn, expected.pfn());
                    prop_assert_eq!(found.pte, expected.with(PteFlags::A | PteFlags::D));
                    model.insert(va, found.pte);
                }
                Err(fault) => {
                    prop_assert!(!expected.present() || !expected.writable());
                    let protection = fault.kind == FaultKind::Protection;
                    prop_assert_eq!(protection, expected.present());
                }
            }
        }
    }
}
