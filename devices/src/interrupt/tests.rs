use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const TICK: Vector = Vector(0x31);
const DISK: Vector = Vector(0x3a);
const CALL: Vector = Vector(0xfb);

#[test]
fn the_highest_that_has_arrived_is_delivered_first() {
    let mut lapic = InterruptController::new();
    lapic.raise(TICK, 10);
    lapic.raise(CALL, 20);
    lapic.raise(DISK, 10);
    assert_eq!(
        lapic.pending().collect::<Vec<_>>(),
        [(CALL, 20), (DISK, 10), (TICK, 10)]
    );
    assert_eq!(lapic.deliverable(Some(9)), None);
    assert_eq!(lapic.deliverable(Some(10)), Some(DISK));
    assert_eq!(lapic.deliverable(Some(20)), Some(CALL));
    assert_eq!(lapic.deliverable(None), Some(CALL));
}

#[test]
fn an_edge_that_is_pending_already_keeps_the_earlier_arrival() {
    let mut lapic = InterruptController::new();
    lapic.raise(CALL, 20);
    lapic.raise(CALL, 30);
    assert_eq!(lapic.next_arrival(), Some(20));
    lapic.raise(CALL, 10);
    assert_eq!(lapic.pending().collect::<Vec<_>>(), [(CALL, 10)]);
    lapic.accept(CALL);
    lapic.eoi();
    assert!(lapic.is_idle());
}

#[test]
fn a_vector_of_the_same_class_waits_for_the_end_of_the_handler() {
    let mut lapic = InterruptController::new();
    lapic.raise(TICK, 0);
    lapic.accept(TICK);
    lapic.raise(DISK, 5);
    assert_eq!(lapic.deliverable(None), None);
    assert_eq!(lapic.next_arrival(), None);
    lapic.eoi();
    assert_eq!(lapic.next_arrival(), Some(5));
    assert_eq!(lapic.deliverable(None), Some(DISK));
}

#[test]
fn an_edge_on_the_vector_in_service_is_not_lost() {
    let mut lapic = InterruptController::new();
    lapic.raise(CALL, 0);
    lapic.accept(CALL);
    lapic.raise(CALL, 7);
    assert_eq!(lapic.deliverable(None), None);
    lapic.eoi();
    assert!(!lapic.is_idle());
    assert_eq!(lapic.deliverable(Some(7)), Some(CALL));
}

#[test]
fn a_masked_vector_neither_arrives_nor_hides_a_lower_one() {
    let mut lapic = InterruptController::new();
    lapic.mask(CALL);
    lapic.raise(CALL, 3);
    lapic.raise(TICK, 8);
    assert_eq!(lapic.next_arrival(), Some(8));
    assert_eq!(lapic.deliverable(None), Some(TICK));
    lapic.unmask(CALL);
    assert_eq!(lapic.next_arrival(), Some(3));
    assert_eq!(lapic.deliverable(None), Some(CALL));
}

#[test]
fn equality_does_not_depend_on_the_order_of_raising() {
    let mut one = InterruptController::new();
    let mut other = InterruptController::new();
    one.raise(TICK, 1);
    one.raise(CALL, 2);
    other.raise(CALL, 2);
    other.raise(TICK, 1);
    assert_eq!(one, other);
    other.mask(DISK);
    assert_ne!(one, other);
}

#[test]
#[should_panic(expected = "not pending")]
fn accepting_what_was_not_raised_is_a_bug_of_the_machine() {
    InterruptController::new().accept(CALL);
}

#[test]
#[should_panic(expected = "nothing in service")]
fn an_end_of_interrupt_outside_handlers_is_a_bug_of_the_machine() {
    InterruptController::new().eoi();
}

/// The rules once more, as sets and loops over all 256 vectors.
#[derive(Default)]
struct Model {
    pending: BTreeMap<u8, u64>,
    masked: [bool; 16],
    in_service: Vec<u8>,
}

impl Model {
    fn unblocked(&self, vector: u8) -> bool {
        // Every handler counts here, so a controller that looks at the wrong one differs.
        self.in_service.iter().all(|s| vector / 16 > s / 16)
            && !self.masked[usize::from(vector % 16)]
    }

    fn deliverable(&self, now: Option<u64>) -> Option<u8> {
        (0..=255u8).rev().find(|v| {
            self.unblocked(*v)
                && self
                    .pending
                    .get(v)
                    .is_some_and(|at| now.is_none_or(|now| *at <= now))
        })
    }
}

#[derive(Clone, Debug)]
enum Op {
    Raise(u8, u64),
    Accept(Option<u64>),
    Eoi,
    /// All sixteen vectors that end in this digit.
    Mask(u8, bool),
}

/// Few distinct vectors in each of the sixteen classes, so that they meet.
fn vector() -> impl Strategy<Value = u8> {
    (0..16u8, 0..4u8).prop_map(|(class, low)| class << 4 | low)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (vector(), 0..50u64).prop_map(|(v, at)| Op::Raise(v, at)),
        4 => proptest::option::of(0..50u64).prop_map(Op::Accept),
        2 => Just(Op::Eoi),
        1 => (0..4u8, any::<bool>()).prop_map(|(low, on)| Op::Mask(low, on)),
    ]
}

proptest! {
    #[test]
    fn it_agrees_with_a_naive_model(ops in proptest::collection::vec(op(), 1..200)) {
        let mut lapic = InterruptController::new();
        let mut model = Model::default();
        for op in ops {
            match op {
                Op::Raise(v, at) => {
                    lapic.raise(Vector(v), at);
                    let earliest = model.pending.get(&v).map_or(at, |old| at.min(*old));
                    model.pending.insert(v, earliest);
                }
                Op::Accept(now) => {
                    let expected = model.deliverable(now);
                    prop_assert_eq!(lapic.deliverable(now), expected.map(Vector));
                    if let Some(v) = expected {
                        lapic.accept(Vector(v));
                        model.pending.remove(&v);
                        model.in_service.push(v);
                    }
                }
                Op::Eoi => {
                    if model.in_service.pop().is_some() {
                        lapic.eoi();
                    }
                }
                Op::Mask(low, on) => {
                    model.masked[usize::from(low)] = on;
                    for class in 0..16 {
                        let v = Vector(class << 4 | low);
                        if on { lapic.mask(v) } else { lapic.unmask(v) }
                    }
                }
            }
            prop_assert_eq!(lapic.in_service().map(|v| v.0), model.in_service.last().copied());
            prop_assert!(model.in_service.is_sorted_by(|outer, inner| outer / 16 < inner / 16));
            prop_assert_eq!(
                lapic.pending().collect::<Vec<_>>(),
                model.pending.iter().rev().map(|(v, at)| (Vector(*v), *at)).collect::<Vec<_>>()
            );
            let next = model.pending.iter().filter(|(v, _)| model.unblocked(**v)).map(|(_, at)| *at).min();
            prop_assert_eq!(lapic.next_arrival(), next);
            prop_assert_eq!(lapic.is_idle(), model.pending.is_empty() && model.in_service.is_empty());
            let mut copy = InterruptController::new();
            copy.raise(Vector(0), 0);
            copy.clone_from(&lapic);
            prop_assert_eq!(&copy, &lapic);
        }
    }
}
