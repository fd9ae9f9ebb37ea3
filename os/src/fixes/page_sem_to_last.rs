//! The page semaphore is released when the last transfer of the request is over.
//!
//! Who: Larry Woodman, 2008, in the vendor bug 471613 (comments 53 to 73); row A23. Breaks: still
//! taken after the pin. Costs: as `page-sem`.

use crate::patch::{Decision, GuardUntil, Patch};

pub struct PageSemToLast;

impl Patch for PageSemToLast {
    fn name(&self) -> &'static str {
        "page-sem-to-last"
    }

    fn about(&self) -> &'static str {
        "the page semaphore is held until the last transfer of the request"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["page-sem"]
    }

    fn decides(&self) -> &'static [Decision] {
        &[Decision::DioGuard]
    }

    fn guard_until(&self) -> Option<GuardUntil> {
        Some(GuardUntil::Request)
    }
}
