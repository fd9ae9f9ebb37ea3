//! Each oracle fires on what it is there for, and stays silent on the nearest thing that is right.
//! The paths of the kernel are left out: the oracles are told of events that a kernel with a bug
//! would tell them of.

use emu::{Costs, CpuId, Size};
use mmu::{Pfn, PhysAddr, TlbEntry, VirtAddr, walk};

use crate::flush::FlushRange;
use crate::mm::user_pte;
use crate::{Config, Holder, Kernel, MmId};

/// A kernel with one process that has two pages, both filled with 1.
struct World<'w> {
    kernel: &'w Kernel<'w>,
    mm: MmId,
    at: VirtAddr,
}

impl World<'_> {
    fn frame(&self, mm: MmId, va: VirtAddr) -> Pfn {
        let root = self.kernel.mm(mm).root;
        let found = walk::lookup(&self.kernel.machine.memory(), root, va);
        found.expect("mapped").1.pfn()
    }

    fn address(&self, mm: MmId, va: VirtAddr) -> PhysAddr {
        self.frame(mm, va).base() + va.offset() as u64
    }

    /// The bytes get to the frame, and the process is told to have stored them.
    fn store(&self, mm: MmId, va: VirtAddr, bytes: &[u8]) {
        let pa = self.address(mm, va);
        self.poke(pa, bytes);
        self.kernel.oracles.stored(self.kernel, mm, va, bytes, pa);
    }

    fn poke(&self, pa: PhysAddr, bytes: &[u8]) {
        let mut memory = self.kernel.machine.prepare_memory();
        memory.bytes_mut(pa, bytes.len()).copy_from_slice(bytes);
    }

    fn load(&self, mm: MmId, va: VirtAddr, len: usize) {
        let pa = self.address(mm, va);
        let memory = self.kernel.machine.memory();
        let bytes = memory.bytes(pa, len);
        self.kernel.oracles.loaded(self.kernel, mm, va, bytes, pa);
    }

    /// A child whose first page is a copy of the parent's, in a frame of its own.
    fn child(&self) -> (MmId, Pfn) {
        let cx = self.kernel;
        let root = cx.take_frame().expect("memory");
        let child = cx.new_mm(root);
        let vmas = cx.mms.borrow()[self.mm].vmas.clone();
        cx.mms.borrow_mut()[child].vmas = vmas;
        let copy = cx.take_frame().expect("memory");
        let mut tables = || cx.take_frame().expect("memory");
        let from = self.frame(self.mm, self.at).base();
        let mut memory = cx.machine.prepare_memory();
        walk::map(
            &mut memory,
            root,
            self.at,
            user_pte(copy, true, true),
            &mut tables,
        );
        for sector in 0..8 {
            memory.copy(from + sector * 512, copy.base() + sector * 512, 512);
        }
        (child, copy)
    }

    /// The violations since the last look: oracle, word, message.
    fn found(&self) -> Vec<(&'static str, &'static str, String)> {
        let found = self.kernel.machine.violations();
        found
            .iter()
            .map(|it| (it.oracle, it.word, it.message.clone()))
            .collect()
    }
}

fn with_world(test: impl FnOnce(&World<'_>)) {
    let kernel = Kernel::new(Config {
        costs: Costs::preset("skylake-2s").expect("compiled in"),
        size: Size {
            cpus: 2,
            frames: 256,
            store_buffers: false,
        },
        patches: Vec::new(),
        flush: crate::flush::ALL[0],
    });
    let mut at = VirtAddr::new(0);
    kernel.prepare(|setup| {
        let process = setup.empty_process("main");
        at = setup.map(process, 8192);
        setup.fill(process, at, 8192, 1);
    });
    kernel.begin(1);
    let mm = kernel.mms.borrow().keys().next().expect("one process");
    test(&World {
        kernel: &kernel,
        mm,
        at,
    });
}

#[test]
fn a_load_of_what_another_process_stored_is_corrupt_and_names_it() {
    with_world(|world| {
        world.store(world.mm, world.at + 8, &[5; 8]);
        world.load(world.mm, world.at, 64);
        assert_eq!(world.found(), []);
        let pa = world.address(world.mm, world.at + 16);
        world.poke(pa, &[7]);
        let who = super::frame_notes::Who::Process(9);
        world.kernel.oracles.frames.borrow_mut().written(pa, who, 3);
        world.load(world.mm, world.at, 64);
        world.load(world.mm, world.at, 64);
        let found = world.found();
        assert_eq!(found.len(), 1, "told once: {found:?}");
        assert_eq!((found[0].0, found[0].1), ("shadow-memory", "CORRUPT"));
        assert!(found[0].2.contains("loaded 0x07"), "{}", found[0].2);
        assert!(
            found[0].2.contains("process 9 stored there at step 3"),
            "{}",
            found[0].2
        );
    });
}

#[test]
fn a_child_with_the_second_store_but_not_the_first_is_torn() {
    with_world(|world| {
        let oracles = &world.kernel.oracles;
        oracles.fork_begin(world.kernel, world.mm);
        let (child, copy) = world.child();
        world.store(world.mm, world.at, &[2]);
        world.store(world.mm, world.at + 2048, &[3]);
        world.poke(copy.base() + 2048, &[3]);
        oracles.fork_end(world.kernel, world.mm, child);
        let found = world.found();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].0, found[0].1), ("snapshot", "TORN"));
        assert!(
            found[0].2.contains("byte 0x0 is as before"),
            "{}",
            found[0].2
        );
        assert!(
            found[0].2.contains("byte 0x800 is as after"),
            "{}",
            found[0].2
        );
    });
}

#[test]
fn a_child_of_the_instant_between_two_stores_is_whole_and_keeps_it() {
    with_world(|world| {
        let oracles = &world.kernel.oracles;
        oracles.fork_begin(world.kernel, world.mm);
        let (child, copy) = world.child();
        world.store(world.mm, world.at, &[2]);
        world.poke(copy.base(), &[2]);
        world.store(world.mm, world.at + 2048, &[3]);
        oracles.fork_end(world.kernel, world.mm, child);
        world.load(child, world.at, 512);
        world.load(child, world.at + 2048, 512);
        assert_eq!(world.found(), []);
    });
}

#[test]
fn bytes_under_a_write_pin_are_not_judged_in_the_child() {
    with_world(|world| {
        let oracles = &world.kernel.oracles;
        let pa = world.address(world.mm, world.at);
        let places = [(world.at, pa, 512)];
        oracles.io_submitted(world.kernel, 1, world.mm, &places, true, 0, 0);
        oracles.fork_begin(world.kernel, world.mm);
        let (child, copy) = world.child();
        oracles.fork_end(world.kernel, world.mm, child);
        world.poke(copy.base(), &[77]);
        world.load(child, world.at, 8);
        assert_eq!(world.found(), []);
        world.store(child, world.at, &[4; 8]);
        world.poke(copy.base(), &[77]);
        world.load(child, world.at, 8);
        assert_eq!(world.found().len(), 1, "its own store is judged again");
    });
}

#[test]
fn a_translation_used_after_its_flush_is_stale() {
    with_world(|world| {
        let (cx, oracles) = (world.kernel, &world.kernel.oracles);
        let pfn = world.frame(world.mm, world.at);
        let old = user_pte(pfn, true, true);
        let mut entry = TlbEntry {
            vpn: world.at.page(),
            pfn,
            flags: old.flags(),
            filled: oracles.filled_stamp(),
            verified: oracles.verified_stamp(),
            ..TlbEntry::default()
        };
        let new = user_pte(pfn, false, true);
        let root = cx.mm(world.mm).root;
        walk::map(
            &mut cx.machine.prepare_memory(),
            root,
            world.at,
            new,
            &mut || unreachable!(),
        );
        oracles.entry_changed(cx, world.mm, world.at, old, new);
        let promise = oracles.flush_begin(cx, world.mm, FlushRange::All);
        let tell = |entry: &mut TlbEntry| {
            oracles.translated(cx, CpuId(1), world.mm, entry, world.at, true);
        };
        tell(&mut entry);
        assert_eq!(
            world.found(),
            [],
            "before the flush completes nothing is promised"
        );
        oracles.flush_end(cx, promise);
        tell(&mut entry);
        tell(&mut entry);
        let found = world.found();
        assert_eq!(found.len(), 1, "told once: {found:?}");
        assert_eq!((found[0].0, found[0].1), ("tlb-coherence", "STALETLB"));
        assert!(
            found[0].2.contains("took write permission away"),
            "{}",
            found[0].2
        );
    });
}

#[test]
fn a_reference_to_a_free_frame_is_a_use_after_free() {
    with_world(|world| {
        let (cx, oracles) = (world.kernel, &world.kernel.oracles);
        oracles.reference_taken(cx, world.frame(world.mm, world.at), Holder::Pin);
        assert_eq!(world.found(), []);
        let frame = cx.take_frame().expect("memory");
        cx.free_frame(frame);
        oracles.reference_taken(cx, frame, Holder::Pin);
        let found = world.found();
        assert_eq!((found[0].0, found[0].1), ("lifetime", "UAF"));
        assert!(found[0].2.contains("freed it"), "{}", found[0].2);
    });
}

#[test]
fn quiescence_finds_what_nobody_holds_and_nothing_else() {
    with_world(|world| {
        let (cx, oracles) = (world.kernel, &world.kernel.oracles);
        oracles.quiesce(cx);
        assert_eq!(world.found(), []);
        let pfn = world.frame(world.mm, world.at);
        {
            let mut pages = cx.pages.borrow_mut();
            let page = pages.get_mut(pfn);
            page.count += 1;
            page.held[Holder::Pin as usize] += 1;
        }
        cx.take_frame().expect("memory");
        oracles.quiesce(cx);
        let found = world.found();
        let told: Vec<_> = found.iter().map(|it| (it.0, it.1)).collect();
        assert_eq!(told, [("reference-balance", "LEAK"); 2], "{found:?}");
        assert!(
            found[0].2.contains("1 reference of a pin"),
            "{}",
            found[0].2
        );
        assert!(
            found[1].2.contains("1 reference of a path in hand"),
            "{}",
            found[1].2
        );
    });
}

#[test]
fn a_mapping_that_the_map_count_misses_is_a_bug() {
    with_world(|world| {
        let cx = world.kernel;
        let pfn = world.frame(world.mm, world.at);
        cx.pages.borrow_mut().get_mut(pfn).mapcount = 0;
        cx.oracles.quiesce(cx);
        let found = world.found();
        assert_eq!((found[0].0, found[0].1), ("reference-balance", "BUG"));
    });
}

/// Moves the first sector of a transfer of one page's first sector, whose frame is `frame`.
fn move_sector(world: &World<'_>, to_memory: bool, frame: Pfn) {
    let moved = devices::Moved {
        sector: 0,
        addr: frame.base(),
        lba: 0,
        direction: if to_memory {
            devices::Direction::ToMemory
        } else {
            devices::Direction::FromMemory
        },
        last: true,
    };
    world.kernel.oracles.sector_moved(world.kernel, 0, &moved);
}

#[test]
fn a_sector_that_lands_where_the_address_no_longer_points_is_told_once() {
    for remapped in [false, true] {
        with_world(|world| {
            let (cx, oracles) = (world.kernel, &world.kernel.oracles);
            let (old, new) = (
                world.frame(world.mm, world.at),
                cx.take_frame().expect("memory"),
            );
            let places = [(world.at, old.base(), 1024)];
            oracles.io_submitted(cx, 1, world.mm, &places, true, 0, 0);
            if remapped {
                oracles.unmapped(cx, world.mm, world.at, 4096);
            }
            let root = cx.mm(world.mm).root;
            let (was, is) = (user_pte(old, false, true), user_pte(new, true, true));
            walk::map(
                &mut cx.machine.prepare_memory(),
                root,
                world.at,
                is,
                &mut || unreachable!(),
            );
            oracles.entry_changed(cx, world.mm, world.at, was, is);
            move_sector(world, true, old);
            move_sector(world, true, old);
            let found = world.found();
            if remapped {
                assert_eq!(found, [], "the process did it itself");
                return;
            }
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!((found[0].0, found[0].1), ("dma-target", "CORRUPT"));
            assert!(
                found[0].2.contains("stopped mapping at step"),
                "{}",
                found[0].2
            );
        });
    }
}

#[test]
fn the_disk_may_get_any_value_held_since_submission_and_no_other() {
    for (value, silent) in [(1, true), (2, true), (3, false)] {
        with_world(|world| {
            let (cx, oracles) = (world.kernel, &world.kernel.oracles);
            let pfn = world.frame(world.mm, world.at);
            let places = [(world.at, pfn.base(), 512)];
            oracles.io_submitted(cx, 1, world.mm, &places, false, 0, 0);
            world.store(world.mm, world.at, &[2; 8]);
            world.poke(pfn.base(), &[value; 8]);
            move_sector(world, false, pfn);
            let found = world.found();
            assert_eq!(found.is_empty(), silent, "{value}: {found:?}");
            assert!(
                found
                    .iter()
                    .all(|it| (it.0, it.1) == ("file-image", "CORRUPT"))
            );
        });
    }
}

#[test]
fn a_completed_read_must_be_seen_and_an_unfinished_one_may_be() {
    with_world(|world| {
        let (cx, oracles) = (world.kernel, &world.kernel.oracles);
        let pfn = world.frame(world.mm, world.at);
        oracles.io_submitted(cx, 1, world.mm, &[(world.at, pfn.base(), 512)], true, 0, 0);
        world.load(world.mm, world.at, 8);
        world.poke(pfn.base(), &[6; 512]);
        move_sector(world, true, pfn);
        world.load(world.mm, world.at, 8);
        world.poke(pfn.base(), &[1; 512]);
        world.load(world.mm, world.at, 8);
        assert_eq!(world.found(), [], "in flight, both are fine");
        oracles.io_completed(cx, 1);
        world.load(world.mm, world.at, 8);
        assert_eq!(world.found().len(), 1);
    });
}
