//! A store to a page that nobody else maps does not look whether somebody else has pinned it. Guards
//! B07 where both sides pin.

use crate::patch::Patch;

pub struct PinsNotLookedFor;

impl Patch for PinsNotLookedFor {
    fn name(&self) -> &'static str {
        "pins-not-looked-for"
    }

    fn about(&self) -> &'static str {
        "a page that nobody else maps is written in place, whoever has pinned it"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["cow-first-pin"]
    }

    fn cow_looks_for_pins(&self) -> Option<bool> {
        Some(false)
    }
}
