//! The wires between interrupt controllers.

/// How long an inter-processor interrupt travels, in cycles, from the command write to its
/// arrival at the target's controller.
///
/// ```
/// let wires = devices::Wires { near: 350, far: 750 };
/// assert_eq!(wires.delay(0, 0), 350);
/// assert_eq!(wires.delay(0, 1), 750);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wires {
    /// To a CPU of the same socket, the sender itself included.
    pub near: u64,
    /// To a CPU of another socket.
    pub far: u64,
}

impl Wires {
    /// The delay, in cycles, between CPUs of the two sockets. Sockets are only compared, so
    /// their numbers may be of any type.
    #[inline]
    pub fn delay<S: PartialEq>(&self, from_socket: S, to_socket: S) -> u64 {
        if from_socket == to_socket {
            self.near
        } else {
            self.far
        }
    }
}
