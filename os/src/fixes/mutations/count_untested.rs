//! A write fault uses a page in place that nobody else maps, and does not ask who else has a
//! reference: the only mapping may be the child's, and the pin the parent's. Guards B35 and U11.

use crate::patch::{Patch, WpReuse};

pub struct CountUntested;

impl Patch for CountUntested {
    fn name(&self) -> &'static str {
        "count-untested"
    }

    fn about(&self) -> &'static str {
        "a write fault does not ask who else has a reference"
    }

    fn wp_reuse(&self) -> Option<WpReuse> {
        Some(WpReuse::LeaveSwapCache)
    }
}
