//! A pin for reading takes the page as it is, shared or not. Guards B23, B24 and U10.

use crate::patch::{Patch, ReadPin};

pub struct ReadPinsShare;

impl Patch for ReadPinsShare {
    fn name(&self) -> &'static str {
        "read-pins-share"
    }

    fn about(&self) -> &'static str {
        "a pin for reading leaves copy-on-write alone"
    }

    fn read_pin(&self) -> Option<ReadPin> {
        Some(ReadPin::AsAsked)
    }
}
