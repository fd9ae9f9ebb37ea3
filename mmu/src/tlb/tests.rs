use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const TINY: TlbGeometry = TlbGeometry {
    l1_entries: 4,
    l1_ways: 2,
    l2_entries: 12,
    l2_ways: 3,
    large_entries: 2,
};
const SKYLAKE: TlbGeometry = TlbGeometry {
    l1_entries: 64,
    l1_ways: 4,
    l2_entries: 1536,
    l2_ways: 12,
    large_entries: 32,
};

fn small(asid: u16, vpn: u64, pfn: u32) -> TlbEntry {
    let flags = PteFlags::V | PteFlags::R | PteFlags::U;
    TlbEntry {
        vpn: Vpn::new(vpn),
        asid,
        pfn: Pfn::new(pfn),
        flags,
        ..TlbEntry::default()
    }
}

fn large(asid: u16, vpn: u64, pfn: u32) -> TlbEntry {
    TlbEntry {
        size: PageSize::Large,
        ..small(asid, vpn, pfn)
    }
}

fn global(vpn: u64, pfn: u32) -> TlbEntry {
    let entry = small(0, vpn, pfn);
    TlbEntry {
        flags: entry.flags | PteFlags::G,
        ..entry
    }
}

fn filled(entries: &[TlbEntry]) -> Tlb {
    let mut tlb = Tlb::new(&TINY);
    entries.iter().for_each(|&entry| tlb.fill(entry));
    tlb
}

/// The frame and the level of a page, if it is cached.
fn frame(tlb: &mut Tlb, asid: u16, vpn: u64) -> Option<(u32, TlbLevel)> {
    let vpn = Vpn::new(vpn);
    tlb.lookup(asid, vpn)
        .map(|(entry, level)| (entry.frame(vpn).get(), level))
}

/// Everything that a reset restores.
fn content(tlb: &Tlb) -> impl PartialEq + fmt::Debug + use<> {
    let banks: Vec<_> = tlb.banks.iter().map(Bank::content).collect();
    (banks, tlb.keys.clone(), tlb.stats)
}

#[test]
fn an_address_space_sees_its_own_entries_and_global_ones() {
    let mut tlb = filled(&[small(1, 8, 100), global(9, 101)]);
    assert_eq!(frame(&mut tlb, 1, 8), Some((100, TlbLevel::First)));
    assert_eq!(frame(&mut tlb, 2, 8), None);
    assert_eq!(frame(&mut tlb, 1, 9), Some((101, TlbLevel::First)));
    assert_eq!(frame(&mut tlb, 7, 9), Some((101, TlbLevel::First)));
}

#[test]
fn a_full_flush_spares_global_entries_and_flush_everything_does_not() {
    let mut tlb = filled(&[small(1, 8, 100), large(1, 512, 512), global(9, 101)]);
    tlb.flush_all();
    assert_eq!(tlb.entries().count(), 1);
    assert_eq!(frame(&mut tlb, 1, 8), None);
    assert_eq!(frame(&mut tlb, 1, 512), None);
    assert!(frame(&mut tlb, 1, 9).is_some());
    tlb.flush_everything();
    assert_eq!(frame(&mut tlb, 1, 9), None);
    assert_eq!(tlb.entries().count(), 0);
    assert_eq!(tlb.stats().flushes_full, 2);
}

#[test]
fn flushing_one_address_space_spares_the_others() {
    let mut tlb = filled(&[small(1, 8, 100), small(2, 8, 102), global(9, 101)]);
    assert!(frame(&mut tlb, 1, 8).is_some());
    tlb.flush_asid(1);
    assert_eq!(frame(&mut tlb, 1, 8), None);
    assert!(frame(&mut tlb, 2, 8).is_some());
    assert!(frame(&mut tlb, 1, 9).is_some());
    // Filled again, the address space does not get its flushed entries back.
    tlb.fill(small(1, 10, 103));
    assert_eq!(frame(&mut tlb, 1, 8), None);
    assert!(frame(&mut tlb, 1, 10).is_some());
}

#[test]
fn flushing_a_page_flushes_the_large_page_that_covers_it() {
    let mut tlb = filled(&[large(1, 1024, 2048), small(1, 1024, 7), small(1, 1025, 8)]);
    tlb.flush_page(1, Vpn::new(1024));
    assert_eq!(frame(&mut tlb, 1, 1024), None);
    assert_eq!(frame(&mut tlb, 1, 1030), None);
    assert_eq!(frame(&mut tlb, 1, 1025), Some((8, TlbLevel::First)));
}

#[test]
fn flushing_a_page_of_a_space_without_entries_flushes_the_global_one() {
    let mut tlb = filled(&[global(9, 101)]);
    tlb.flush_page(5, Vpn::new(9));
    assert_eq!(frame(&mut tlb, 1, 9), None);
}

#[test]
fn any_page_of_a_large_one_can_be_given_to_fill() {
    let mut tlb = filled(&[large(1, 1024 + 17, 2048 + 17)]);
    assert_eq!(frame(&mut tlb, 1, 1024), Some((2048, TlbLevel::First)));
    assert_eq!(
        frame(&mut tlb, 1, 1024 + 511),
        Some((2048 + 511, TlbLevel::First))
    );
    let entry = *tlb.entries().next().unwrap();
    assert!(entry.covers(Vpn::new(1024 + 511)) && !entry.covers(Vpn::new(1024 + 512)));
    let va = VirtAddr::new((1024 + 3) * 4096 + 21);
    assert_eq!(entry.translate(va), Pfn::new(2048 + 3).base() + 21);
}

#[test]
fn the_second_level_takes_what_the_first_replaces_and_gives_it_back() {
    // Even pages share one set of two ways in the first level.
    let mut tlb = filled(&[small(1, 0, 10), small(1, 2, 12), small(1, 4, 14)]);
    assert_eq!(frame(&mut tlb, 1, 4), Some((14, TlbLevel::First)));
    assert_eq!(frame(&mut tlb, 1, 0), Some((10, TlbLevel::Second)));
    assert_eq!(frame(&mut tlb, 1, 0), Some((10, TlbLevel::First)));
    assert_eq!(tlb.entries().count(), 3, "no entry is in both levels");
    let TlbStats {
        hits_l1,
        hits_l2,
        misses,
        fills,
        ..
    } = tlb.stats();
    assert_eq!((hits_l1, hits_l2, misses, fills), (2, 1, 0, 3));
}

#[test]
fn without_a_second_level_a_replaced_entry_is_gone() {
    let mut tlb = Tlb::new(&TlbGeometry {
        l2_entries: 0,
        l2_ways: 0,
        ..TINY
    });
    for page in [0, 2, 4] {
        tlb.fill(small(1, page, 10));
    }
    assert_eq!(frame(&mut tlb, 1, 0), None);
    assert_eq!(tlb.entries().count(), 2);
}

#[test]
fn replacement_goes_round_the_set_and_prefers_a_dead_entry() {
    let mut tlb = Tlb::new(&TlbGeometry {
        l2_entries: 0,
        ..TINY
    });
    let pages = |tlb: &Tlb| {
        tlb.entries()
            .map(|entry| entry.vpn.get())
            .collect::<Vec<_>>()
    };
    for page in [0, 2, 4, 6] {
        tlb.fill(small(1, page, 10));
    }
    assert_eq!(pages(&tlb), [4, 6]);
    tlb.flush_page(1, Vpn::new(6));
    tlb.fill(small(1, 8, 10));
    assert_eq!(pages(&tlb), [4, 8]);
}

#[test]
fn a_second_fill_of_a_page_replaces_the_first() {
    let mut tlb = filled(&[small(1, 8, 100), small(1, 8, 200)]);
    assert_eq!(frame(&mut tlb, 1, 8), Some((200, TlbLevel::First)));
    assert_eq!(tlb.entries().count(), 1);
    tlb.flush_page(1, Vpn::new(8));
    assert_eq!(frame(&mut tlb, 1, 8), None);
}

#[test]
fn a_stamp_written_through_lookup_moves_with_its_entry() {
    let mut tlb = filled(&[small(1, 0, 10)]);
    tlb.lookup(1, Vpn::new(0)).unwrap().0.verified = 77;
    tlb.fill(small(1, 2, 12));
    tlb.fill(small(1, 4, 14));
    let (entry, level) = tlb.lookup(1, Vpn::new(0)).unwrap();
    assert_eq!((entry.verified, level), (77, TlbLevel::Second));
}

#[test]
fn a_page_number_that_is_not_canonical_is_not_found_as_its_low_bits() {
    let mut tlb = filled(&[small(1, 8, 100), large(1, 512, 512)]);
    assert_eq!(frame(&mut tlb, 1, 8 | 1 << 40), None);
    assert_eq!(frame(&mut tlb, 1, 513 | 1 << 51), None);
}

#[test]
fn an_entry_stays_when_the_page_table_changes() {
    use crate::{AccessKind, PhysMemory, Pte, WalkCache, walk};
    let (mut memory, root, va) = (PhysMemory::new(64), Pfn::new(1), VirtAddr::new(0x5000));
    let mut next = 1;
    let mut alloc = || {
        next += 1;
        Pfn::new(next)
    };
    let flags = PteFlags::R | PteFlags::W | PteFlags::U;
    let at = walk::map(
        &mut memory,
        root,
        va,
        Pte::leaf(Pfn::new(30), flags),
        &mut alloc,
    );
    let mut cache = WalkCache::new();
    let found = walk::walk(&mut memory, root, va, AccessKind::Read, true, &mut cache).unwrap();
    let mut tlb = Tlb::new(&SKYLAKE);
    tlb.fill(TlbEntry {
        vpn: va.page(),
        asid: 1,
        pfn: found.pfn,
        flags: found.pte.flags(),
        ..TlbEntry::default()
    });
    memory.write_u64(at, 0);
    let (entry, _) = tlb.lookup(1, va.page()).unwrap();
    assert_eq!(
        (entry.pfn, entry.flags),
        (Pfn::new(30), flags | PteFlags::V | PteFlags::A)
    );
}

#[test]
fn shapes_that_no_hardware_could_have_are_refused_with_what_is_wrong() {
    assert_eq!(SKYLAKE.check(), Ok(()));
    let why = |shape: TlbGeometry| shape.check().unwrap_err();
    let odd = why(TlbGeometry {
        l2_entries: 1500,
        ..SKYLAKE
    });
    assert_eq!(
        odd,
        "l2_entries is 1500, in sets of 12 (l2_ways): it must be l2_ways times a power of two, \
         such as 768 or 1536"
    );
    assert!(
        why(TlbGeometry {
            l1_entries: 0,
            ..SKYLAKE
        })
        .contains("l1_entries is 0")
    );
    assert!(
        why(TlbGeometry {
            l1_ways: 0,
            ..SKYLAKE
        })
        .contains("l1_ways is 0")
    );
    assert!(
        why(TlbGeometry {
            l1_ways: 65,
            ..SKYLAKE
        })
        .contains("l1_ways is 65")
    );
    assert!(
        why(TlbGeometry {
            large_entries: 0,
            ..SKYLAKE
        })
        .contains("large_entries is 0")
    );
    assert_eq!(
        TlbGeometry {
            l2_entries: 0,
            l2_ways: 0,
            ..SKYLAKE
        }
        .check(),
        Ok(())
    );
}

#[test]
fn entries_print_for_dumps() {
    assert_eq!(
        small(3, 8, 100).to_string(),
        "asid 3 0x8000 4K -> frame 100 r--u--"
    );
}

#[derive(Clone, Debug)]
enum Op {
    Fill {
        asid: u16,
        vpn: u64,
        pfn: u32,
        global: bool,
        large: bool,
    },
    Lookup(u16, u64),
    FlushAll,
    FlushEverything,
    FlushAsid(u16),
    FlushPage(u16, u64),
}

fn op() -> impl Strategy<Value = Op> {
    // Three large pages, four small ones of each.
    let vpn = || (0u64..3, 0u64..4).prop_map(|(large, small)| large * 512 + small);
    let fill = (
        1u16..4,
        vpn(),
        0u32..1000,
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.3),
    );
    prop_oneof![
        8 => fill.prop_map(|(asid, vpn, pfn, global, large)| {
            Op::Fill { asid, vpn, pfn, global, large }
        }),
        8 => (1u16..4, vpn()).prop_map(|(asid, vpn)| Op::Lookup(asid, vpn)),
        1 => Just(Op::FlushAll),
        1 => Just(Op::FlushEverything),
        1 => (1u16..4).prop_map(Op::FlushAsid),
        2 => (1u16..4, vpn()).prop_map(|(asid, vpn)| Op::FlushPage(asid, vpn)),
    ]
}

/// What may be found: an unlimited TLB, by address space (0 for global), size and page.
type Model = BTreeMap<(u16, PageSize, u64), u32>;

/// A hit is what a lookup finds at its first place, and no hit changes nothing.
fn hit_is_lookup(tlb: &Tlb, asid: u16, vpn: Vpn) {
    for need in [PteFlags::R, PteFlags::W | PteFlags::D] {
        let (mut one, mut other) = (tlb.clone(), tlb.clone());
        // The second is found where the first was.
        for _ in 0..2 {
            if let Some(hit) = one.hit(asid, vpn, need).copied() {
                let found = other.lookup(asid, vpn);
                let found = found.map(|(entry, level)| (*entry, level));
                assert_eq!(found, Some((hit, TlbLevel::First)));
                assert!(hit.flags.contains(need));
            }
            assert_eq!(content(&one), content(&other));
        }
    }
}

/// Does `op` on both; checks that what is found is in the model.
fn apply(tlb: &mut Tlb, model: &mut Model, op: &Op) {
    match *op {
        Op::Fill {
            asid,
            vpn,
            pfn,
            global,
            large,
        } => {
            let mut entry = small(if global { 0 } else { asid }, vpn, pfn);
            entry.flags.set(PteFlags::G, global);
            if large {
                entry.size = PageSize::Large;
                entry.pfn = Pfn::new(pfn * 512) + entry.vpn.index_in_large();
                model.insert((entry.asid, PageSize::Large, vpn / 512 * 512), pfn * 512);
            } else {
                model.insert((entry.asid, PageSize::Small, vpn), pfn);
            }
            tlb.fill(entry);
            // A fresh entry must be found at once, unless an older one covers the page too.
            assert!(tlb.lookup(asid, Vpn::new(vpn)).is_some());
        }
        Op::Lookup(asid, vpn) => {
            hit_is_lookup(tlb, asid, Vpn::new(vpn));
            if tlb.hit(asid, Vpn::new(vpn), PteFlags::R).is_none() {
                tlb.lookup(asid, Vpn::new(vpn));
            }
            if let Some((entry, _)) = tlb.lookup(asid, Vpn::new(vpn)) {
                let space = if entry.flags.contains(PteFlags::G) {
                    0
                } else {
                    asid
                };
                assert!(entry.covers(Vpn::new(vpn)));
                let known = model.get(&(space, entry.size, entry.vpn.get()));
                assert_eq!(known, Some(&entry.pfn.get()), "{entry}");
                entry.verified += 1;
            }
        }
        Op::FlushAll => {
            tlb.flush_all();
            model.retain(|key, _| key.0 == 0);
        }
        Op::FlushEverything => {
            tlb.flush_everything();
            model.clear();
        }
        Op::FlushAsid(asid) => {
            tlb.flush_asid(asid);
            model.retain(|key, _| key.0 != asid);
        }
        Op::FlushPage(asid, vpn) => {
            tlb.flush_page(asid, Vpn::new(vpn));
            let large = vpn / 512 * 512;
            for space in [0, asid] {
                model.remove(&(space, PageSize::Small, vpn));
                model.remove(&(space, PageSize::Large, large));
            }
        }
    }
}

proptest! {
    /// What is found was filled, was not flushed since, and is the latest filled.
    #[test]
    fn a_lookup_never_finds_a_flushed_entry(ops in prop::collection::vec(op(), 1..120)) {
        let (mut tlb, mut model) = (Tlb::new(&TINY), Model::new());
        for op in &ops {
            apply(&mut tlb, &mut model, op);
            let mut seen = BTreeMap::new();
            for entry in tlb.entries() {
                let space = if entry.flags.contains(PteFlags::G) { 0 } else { entry.asid };
                let key = (space, entry.size, entry.vpn.get());
                prop_assert_eq!(model.get(&key), Some(&entry.pfn.get()), "{}", entry);
                prop_assert!(seen.insert(key, ()).is_none(), "{} is there twice", entry);
            }
        }
    }

    /// With room for all, nothing that was not flushed is ever missing.
    #[test]
    fn nothing_is_lost_where_there_is_room(ops in prop::collection::vec(op(), 1..120)) {
        let (mut tlb, mut model) = (Tlb::new(&SKYLAKE), Model::new());
        for op in &ops {
            apply(&mut tlb, &mut model, op);
            prop_assert_eq!(tlb.entries().count(), model.len());
        }
    }

    /// A reset restores entries, cursors, keys and statistics, and again and again; what is
    /// done after it goes as if nothing had happened in between.
    #[test]
    fn a_reset_restores_the_remembered_state_exactly(
        before in prop::collection::vec(op(), 0..60),
        between in prop::collection::vec(prop::collection::vec(op(), 0..40), 1..4),
    ) {
        let (mut tlb, mut model) = (Tlb::new(&TINY), Model::new());
        before.iter().for_each(|op| apply(&mut tlb, &mut model, op));
        let fresh = tlb.clone();
        tlb.remember();
        for ops in &between {
            let mut model_now = model.clone();
            ops.iter().for_each(|op| apply(&mut tlb, &mut model_now, op));
            let mut copy = fresh.clone();
            let mut model_copy = model.clone();
            ops.iter().for_each(|op| apply(&mut copy, &mut model_copy, op));
            prop_assert_eq!(content(&tlb), content(&copy));
            tlb.reset();
            prop_assert_eq!(content(&tlb), content(&fresh));
        }
    }
}
