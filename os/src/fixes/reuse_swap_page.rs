//! A write fault that finds nobody else with a page's contents takes it out of the swap cache as
//! well, unless it is being written (`reuse_swap_page`).
//!
//! Who: Hugh Dickins, January 2009, 2.6.29 (7b1fe59793e6). Breaks: nothing known. Costs: the next
//! reclaim of the page writes it again.

use crate::patch::{Patch, WpReuse};

pub struct ReuseSwapPage;

impl Patch for ReuseSwapPage {
    fn name(&self) -> &'static str {
        "reuse-swap-page"
    }

    fn about(&self) -> &'static str {
        "a page that is written in place leaves the swap cache"
    }

    fn wp_reuse(&self) -> Option<WpReuse> {
        Some(WpReuse::LeaveSwapCache)
    }
}
