//! The dump that the original programs print: a line for each run of equal bytes.

use mmu::VirtAddr;
use os::User;

/// `first - last: value` for each run of equal bytes, offsets from the start.
pub fn runs(bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut start = 0;
    for end in 1..=bytes.len() {
        if end == bytes.len() || bytes[end] != bytes[start] {
            text.push_str(&format!("{start} - {}: {}\n", end - 1, bytes[start]));
            start = end;
        }
    }
    text
}

/// Reads `len` bytes of the program's memory and prints their runs.
pub async fn print(user: User<'_>, at: VirtAddr, len: usize) {
    let mut bytes = vec![0; len];
    user.load(at, &mut bytes).await;
    user.print(runs(&bytes)).await;
}

#[cfg(test)]
mod tests {
    #[test]
    fn equal_bytes_share_a_line() {
        let mut bytes = vec![0; 3584];
        bytes.resize(4096, 42);
        assert_eq!(super::runs(&bytes), "0 - 3583: 0\n3584 - 4095: 42\n");
        assert_eq!(super::runs(&[]), "");
        assert_eq!(super::runs(&[5]), "0 - 0: 5\n");
    }
}
