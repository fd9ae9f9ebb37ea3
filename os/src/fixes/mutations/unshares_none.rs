//! A pin for reading takes a page as it is mapped. Guards U19, U21 and the kernels that have them.

use crate::patch::{Patch, Unshare};

pub struct UnsharesNone;

impl Patch for UnsharesNone {
    fn name(&self) -> &'static str {
        "unshares-none"
    }

    fn about(&self) -> &'static str {
        "pins for reading un-share nothing"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["unshare-anonymous"]
    }

    fn unshare(&self) -> Option<Unshare> {
        Some(Unshare::Never)
    }
}
