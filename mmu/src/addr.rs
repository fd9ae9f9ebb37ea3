//! Virtual and physical addresses, and the numbers of pages and frames.

use std::fmt;
use std::ops::{Add, Sub};

/// Bytes in a page and in a frame.
pub const PAGE_SIZE: usize = 1 << PAGE_SHIFT;
/// Bits of an address that lie within a page.
pub const PAGE_SHIFT: u32 = 12;
/// Bytes in a sector, the unit in which devices and page copies proceed.
pub const SECTOR_SIZE: usize = 512;
/// Bytes in a large page: 512 contiguous frames.
pub const LARGE_PAGE_SIZE: usize = 2 << 20;

/// Small pages in a large one.
pub const PAGES_PER_LARGE: u32 = (LARGE_PAGE_SIZE / PAGE_SIZE) as u32;
/// Bits of a page number that lie within a large page.
pub(crate) const LARGE_PAGE_BITS: u32 = PAGES_PER_LARGE.trailing_zeros();

/// A virtual address, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct VirtAddr(u64);

/// A physical address, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PhysAddr(u64);

/// The number of a 4 KiB frame of physical memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Pfn(u32);

/// The number of a 4 KiB page of virtual memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Vpn(u64);

/// The sizes of page that a translation can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum PageSize {
    /// 4 KiB.
    #[default]
    Small,
    /// 2 MiB.
    Large,
}

impl PageSize {
    /// The size in bytes.
    #[inline]
    pub const fn bytes(self) -> usize {
        match self {
            PageSize::Small => PAGE_SIZE,
            PageSize::Large => LARGE_PAGE_SIZE,
        }
    }
}

impl fmt::Display for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PageSize::Small => "4K",
            PageSize::Large => "2M",
        })
    }
}

impl VirtAddr {
    /// The address with this value.
    #[inline]
    pub const fn new(addr: u64) -> Self {
        VirtAddr(addr)
    }

    /// The value.
    #[inline]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The page that holds this byte.
    #[inline]
    pub const fn page(self) -> Vpn {
        Vpn(self.0 >> PAGE_SHIFT)
    }

    /// The offset in the page, in bytes.
    #[inline]
    pub const fn offset(self) -> usize {
        self.0 as usize % PAGE_SIZE
    }

    /// The first byte of the page.
    #[inline]
    pub const fn page_down(self) -> Self {
        VirtAddr(self.0 & !(PAGE_SIZE as u64 - 1))
    }

    /// The next multiple of the page size, or the address itself if it is one. Past the last
    /// page it wraps to zero.
    #[inline]
    pub const fn page_up(self) -> Self {
        VirtAddr(self.0.wrapping_add(PAGE_SIZE as u64 - 1)).page_down()
    }

    /// Whether the address is a multiple of `align`.
    ///
    /// # Panics
    /// If `align` is not a power of two.
    #[inline]
    pub const fn is_aligned(self, align: u64) -> bool {
        assert!(align.is_power_of_two(), "an alignment is a power of two");
        self.0 & (align - 1) == 0
    }

    /// Whether bits 63 to 48 repeat bit 47, as Sv48 wants; any other address faults.
    #[inline]
    pub const fn is_canonical(self) -> bool {
        ((self.0 << 16) as i64 >> 16) as u64 == self.0
    }
}

impl PhysAddr {
    /// The address with this value.
    #[inline]
    pub const fn new(addr: u64) -> Self {
        PhysAddr(addr)
    }

    /// The value.
    #[inline]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The frame that holds this byte. An address beyond the last frame that a [`Pfn`] can name
    /// gives the highest `Pfn`, which no memory has.
    #[inline]
    pub const fn pfn(self) -> Pfn {
        let frame = self.0 >> PAGE_SHIFT;
        Pfn(if frame > u32::MAX as u64 {
            u32::MAX
        } else {
            frame as u32
        })
    }

    /// The offset in the frame, in bytes.
    #[inline]
    pub const fn offset(self) -> usize {
        self.0 as usize % PAGE_SIZE
    }

    /// The number of the 512-byte sector, counted through all of memory.
    #[inline]
    pub const fn sector(self) -> u64 {
        self.0 / SECTOR_SIZE as u64
    }
}

impl Pfn {
    /// The frame with this number.
    #[inline]
    pub const fn new(frame: u32) -> Self {
        Pfn(frame)
    }

    /// The number.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The address of the first byte.
    #[inline]
    pub const fn base(self) -> PhysAddr {
        PhysAddr((self.0 as u64) << PAGE_SHIFT)
    }
}

impl Vpn {
    /// The page with this number.
    #[inline]
    pub const fn new(page: u64) -> Self {
        Vpn(page)
    }

    /// The number.
    #[inline]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The address of the first byte.
    #[inline]
    pub const fn base(self) -> VirtAddr {
        VirtAddr(self.0 << PAGE_SHIFT)
    }

    /// The first page of the large page that covers this one.
    #[inline]
    pub const fn large_down(self) -> Self {
        Vpn(self.0 & !(PAGES_PER_LARGE as u64 - 1))
    }

    /// The position in the large page, in small pages.
    #[inline]
    pub const fn index_in_large(self) -> u32 {
        self.0 as u32 % PAGES_PER_LARGE
    }
}

impl Add<u64> for VirtAddr {
    type Output = VirtAddr;
    /// Moves up by `bytes`, wrapping as the hardware's adders do: a guest chooses the operands.
    #[inline]
    fn add(self, bytes: u64) -> VirtAddr {
        VirtAddr(self.0.wrapping_add(bytes))
    }
}

impl Sub for VirtAddr {
    type Output = u64;
    /// The distance in bytes, wrapping.
    #[inline]
    fn sub(self, from: VirtAddr) -> u64 {
        self.0.wrapping_sub(from.0)
    }
}

impl Sub<u64> for VirtAddr {
    type Output = VirtAddr;
    /// Moves down by `bytes`, wrapping.
    #[inline]
    fn sub(self, bytes: u64) -> VirtAddr {
        VirtAddr(self.0.wrapping_sub(bytes))
    }
}

impl Add<u64> for PhysAddr {
    type Output = PhysAddr;
    /// Moves up by `bytes`, wrapping.
    #[inline]
    fn add(self, bytes: u64) -> PhysAddr {
        PhysAddr(self.0.wrapping_add(bytes))
    }
}

impl Add<u32> for Pfn {
    type Output = Pfn;
    /// The frame `frames` further on. Frames that overflow would be a bug of the caller.
    #[inline]
    fn add(self, frames: u32) -> Pfn {
        Pfn(self.0 + frames)
    }
}

impl Add<u64> for Vpn {
    type Output = Vpn;
    /// The page `pages` further on, wrapping.
    #[inline]
    fn add(self, pages: u64) -> Vpn {
        Vpn(self.0.wrapping_add(pages))
    }
}

impl Sub for Vpn {
    type Output = u64;
    /// The distance in pages, wrapping.
    #[inline]
    fn sub(self, from: Vpn) -> u64 {
        self.0.wrapping_sub(from.0)
    }
}

/// Debug and Display of a newtype are the same text: dumps and assertions read alike.
macro_rules! show {
    ($($name:ident as $form:literal),* $(,)?) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $form, self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}

show!(VirtAddr as "{:#x}", PhysAddr as "{:#x}", Pfn as "{}", Vpn as "{:#x}");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_up_keeps_a_boundary_and_rounds_the_rest() {
        assert_eq!(VirtAddr::new(0x2000).page_up(), VirtAddr::new(0x2000));
        assert_eq!(VirtAddr::new(0x2001).page_up(), VirtAddr::new(0x3000));
        assert_eq!(VirtAddr::new(0x2fff).page_down(), VirtAddr::new(0x2000));
        assert_eq!(VirtAddr::new(u64::MAX).page_up(), VirtAddr::new(0));
    }

    #[test]
    fn an_address_splits_into_page_and_offset() {
        let va = VirtAddr::new(0x0000_7fff_1234_5678);
        assert_eq!(va.page().base() + va.offset() as u64, va);
        let pa = Pfn::new(u32::MAX).base() + 0xabc;
        assert_eq!((pa.pfn(), pa.offset()), (Pfn::new(u32::MAX), 0xabc));
        assert_eq!(pa.sector(), pa.get() / 512);
    }

    #[test]
    fn an_address_beyond_every_frame_does_not_alias_a_low_one() {
        assert_eq!(PhysAddr::new(1 << 60).pfn(), Pfn::new(u32::MAX));
    }

    #[test]
    fn canonical_addresses_repeat_bit_47() {
        for (addr, canonical) in [
            (0x0000_7fff_ffff_ffff, true),
            (0x0000_8000_0000_0000, false),
            (0xffff_8000_0000_0000, true),
            (0x0001_0000_0000_0000, false),
        ] {
            assert_eq!(VirtAddr::new(addr).is_canonical(), canonical, "{addr:#x}");
        }
    }

    #[test]
    fn addresses_print_as_hex_and_frames_as_numbers() {
        assert_eq!(VirtAddr::new(0x1000).to_string(), "0x1000");
        assert_eq!(format!("{:?}", PhysAddr::new(255)), "0xff");
        assert_eq!(Pfn::new(12).to_string(), "12");
    }

    #[test]
    fn a_large_page_is_512_small_ones() {
        let vpn = Vpn::new(512 * 7 + 3);
        assert_eq!(vpn.large_down(), Vpn::new(512 * 7));
        assert_eq!(vpn.index_in_large(), 3);
        assert_eq!(PageSize::Large.bytes(), 512 * PageSize::Small.bytes());
    }
}
