//! fork tests the pin mark first, and takes the write access away after.
//!
//! Who: nobody; the order that Linus Torvalds warned of, kernel list 2009-03-11 19:15; row B04. Breaks: a
//! lockless pin marks the page and looks at the entry again between the two. Costs: nothing.

use crate::patch::Patch;

pub struct ForkTestFirst;

impl Patch for ForkTestFirst {
    fn name(&self) -> &'static str {
        "fork-test-first"
    }

    fn about(&self) -> &'static str {
        "fork tests the pin mark before it takes the write access away"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["pg-gup"]
    }

    fn fork_tests_first(&self) -> Option<bool> {
        Some(true)
    }
}
