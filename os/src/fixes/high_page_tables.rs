//! Page tables lie in high memory (`CONFIG_HIGHPTE` on a 32-bit machine): who walks them maps them
//! through a slot of its CPU, and may not sleep meanwhile.
//!
//! Who: no fix but a configuration, the one of the report in vendor bug 471613 (comments 118, 122
//! and 123); row A46. Breaks: a fork that allocates with the tables still mapped. Costs: two mappings
//! for each table that fork copies.

use crate::patch::Patch;

pub struct HighPageTables;

impl Patch for HighPageTables {
    fn name(&self) -> &'static str {
        "high-page-tables"
    }

    fn about(&self) -> &'static str {
        "page tables in high memory: mapped through a slot of the CPU"
    }

    fn high_page_tables(&self) -> Option<bool> {
        Some(true)
    }
}
