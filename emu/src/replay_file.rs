//! The saved choices of a run: who took each step, run-length coded, with checks on the way.
//!
//! Layout: the line `shootdown replay`, the version, then length-prefixed fields as LEB128
//! numbers, and a 64-bit checksum over everything before it. A file is decoded as a whole, and
//! nothing is allocated that the bytes at hand do not cover.

use std::io::{Read, Write};

use crate::{Access, ActorId, Digest, Kind, Object};

/// The version this build writes, and the only one it reads.
pub const VERSION: u32 = 1;

const MAGIC: &[u8] = b"shootdown replay\n";
/// No replay file is larger: 1 GiB.
const MOST_BYTES: u64 = 1 << 30;
/// A run of one actor is cut here, so that a divergence is placed well.
const MOST_STEPS: u32 = 4096;

/// Steps that one actor takes in a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Who.
    pub actor: ActorId,
    /// How many steps.
    pub steps: u32,
    /// The kind of object that the first of them touches.
    pub first_kind: Kind,
    /// How.
    pub first_access: Access,
    /// An extract of the digest after the last of them.
    pub check: u32,
}

/// Collects the choices of a run as it goes.
#[derive(Default)]
pub struct Recorder {
    segments: Vec<Segment>,
}

impl Recorder {
    /// A step was taken; `digest` includes it.
    #[inline]
    pub fn push(&mut self, actor: ActorId, object: Object, access: Access, digest: Digest) {
        let check = digest.short();
        match self.segments.last_mut() {
            Some(last) if last.actor == actor && last.steps < MOST_STEPS => {
                last.steps += 1;
                last.check = check;
            }
            _ => self.segments.push(Segment {
                actor,
                steps: 1,
                first_kind: object.kind(),
                first_access: access,
                check,
            }),
        }
    }

    /// The choices.
    pub fn finish(self) -> Vec<Segment> {
        self.segments
    }
}

/// A saved run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplayFile {
    /// The version of the format.
    pub version: u32,
    /// What was run: text that belongs to the caller.
    pub config: String,
    /// The seed.
    pub seed: u64,
    /// How many steps the run has.
    pub steps: u64,
    /// The digest of all of them.
    pub digest: Digest,
    /// The choices.
    pub segments: Vec<Segment>,
}

/// Why a replay file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The host could not read it.
    #[error("it cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// There is nothing in it.
    #[error("it is empty; save the run again with --save")]
    Empty,
    /// It begins otherwise.
    #[error("it does not begin with the line `shootdown replay`, so it is something else")]
    NotAReplayFile,
    /// It ends too soon.
    #[error("it is cut short: it ends at byte {at}, in {within}; save the run again with --save")]
    CutShort {
        /// Where it ends.
        at: usize,
        /// In which field.
        within: &'static str,
    },
    /// Another version wrote it.
    #[error(
        "its format has version {found}, and this build reads version {VERSION}; save the run again with this build"
    )]
    Version {
        /// The version found.
        found: u64,
    },
    /// The checksum does not fit.
    #[error("it was altered: its checksum does not fit; save the run again with --save")]
    Altered,
    /// A number in it makes no sense.
    #[error("its {what} is {value}, which cannot be: {expected}")]
    Absurd {
        /// What.
        what: &'static str,
        /// The value found.
        value: u64,
        /// What would be right.
        expected: &'static str,
    },
}

impl ReplayFile {
    /// Who went, step by step.
    pub fn actors(&self) -> impl Iterator<Item = ActorId> + '_ {
        let turns = self.segments.iter();
        turns.flat_map(|it| std::iter::repeat_n(it.actor, it.steps as usize))
    }

    /// Writes it.
    pub fn write_to(&self, to: &mut impl Write) -> std::io::Result<()> {
        to.write_all(&self.encode())
    }

    /// Reads one, at most 1 GiB.
    pub fn read_from(from: &mut impl Read) -> Result<ReplayFile, ReplayError> {
        let mut bytes = Vec::new();
        from.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MOST_BYTES {
            return Err(ReplayError::Absurd {
                what: "size",
                value: bytes.len() as u64,
                expected: "no replay file is larger than 1 GiB",
            });
        }
        ReplayFile::decode(&bytes)
    }

    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut to = MAGIC.to_vec();
        put(&mut to, u64::from(self.version));
        put(&mut to, self.config.len() as u64);
        to.extend(self.config.as_bytes());
        put(&mut to, self.seed);
        put(&mut to, self.steps);
        to.extend(self.digest.raw().to_le_bytes());
        put(&mut to, self.segments.len() as u64);
        for segment in &self.segments {
            put(&mut to, u64::from(segment.actor.raw()));
            put(&mut to, u64::from(segment.steps));
            to.push(segment.first_kind as u8);
            to.push(segment.first_access as u8);
            to.extend(segment.check.to_le_bytes());
        }
        let sum = checksum(&to);
        to.extend(sum.to_le_bytes());
        to
    }

    /// From bytes.
    pub fn decode(bytes: &[u8]) -> Result<ReplayFile, ReplayError> {
        if bytes.is_empty() {
            return Err(ReplayError::Empty);
        }
        if !bytes.starts_with(MAGIC) {
            return Err(if MAGIC.starts_with(bytes) {
                ReplayError::CutShort {
                    at: bytes.len(),
                    within: "its first line",
                }
            } else {
                ReplayError::NotAReplayFile
            });
        }
        let mut from = Reader {
            bytes,
            at: MAGIC.len(),
        };
        // Before the checksum, so that a newer file is told from an altered one.
        let version = from.number("the version")?;
        if version != u64::from(VERSION) {
            return Err(ReplayError::Version { found: version });
        }
        let file = from.body()?;
        let end = from.at;
        let sum = u64::from_le_bytes(from.array("the checksum")?);
        if sum != checksum(&bytes[..end]) || from.at != bytes.len() {
            return Err(ReplayError::Altered);
        }
        Ok(file)
    }
}

fn put(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

/// Each byte changes the state by a bijection, so no change of one byte goes unnoticed.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(bytes.len() as u64, |sum, byte| {
        (sum ^ u64::from(*byte))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(23)
    })
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: u64, within: &'static str) -> Result<&'a [u8], ReplayError> {
        let rest = &self.bytes[self.at..];
        if count > rest.len() as u64 {
            return Err(ReplayError::CutShort {
                at: self.bytes.len(),
                within,
            });
        }
        self.at += count as usize;
        Ok(&rest[..count as usize])
    }

    fn array<const N: usize>(&mut self, within: &'static str) -> Result<[u8; N], ReplayError> {
        let bytes = self.take(N as u64, within)?;
        Ok(bytes.try_into().expect("take returns what was asked for"))
    }

    fn number(&mut self, within: &'static str) -> Result<u64, ReplayError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array(within)?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ReplayError::Altered)
    }

    fn body(&mut self) -> Result<ReplayFile, ReplayError> {
        let length = self.number("the configuration's length")?;
        let config = self.take(length, "the configuration")?;
        let config = std::str::from_utf8(config).map_err(|_| ReplayError::Altered)?;
        let seed = self.number("the seed")?;
        let steps = self.number("the number of steps")?;
        let digest = Digest::from_raw(u128::from_le_bytes(self.array("the digest")?));
        let count = self.number("the number of choices")?;
        // Eight bytes is the least that one takes.
        if count > (self.bytes.len() - self.at) as u64 / 8 {
            return Err(ReplayError::CutShort {
                at: self.bytes.len(),
                within: "the choices",
            });
        }
        let mut segments = Vec::with_capacity(count as usize);
        let mut total = 0;
        for _ in 0..count {
            let segment = self.segment()?;
            total += u64::from(segment.steps);
            segments.push(segment);
        }
        if total != steps {
            return Err(ReplayError::Absurd {
                what: "number of steps",
                value: steps,
                expected: "it is not the number of choices",
            });
        }
        Ok(ReplayFile {
            version: VERSION,
            config: config.to_string(),
            seed,
            steps,
            digest,
            segments,
        })
    }

    fn segment(&mut self) -> Result<Segment, ReplayError> {
        const WITHIN: &str = "the choices";
        let absurd = |what, value, expected| ReplayError::Absurd {
            what,
            value,
            expected,
        };
        let actor = self.number(WITHIN)?;
        let steps = self.number(WITHIN)?;
        let [kind] = self.array(WITHIN)?;
        let [access] = self.array(WITHIN)?;
        let check = u32::from_le_bytes(self.array(WITHIN)?);
        let actor = u16::try_from(actor)
            .map_err(|_| absurd("actor", actor, "actors have numbers below 65536"))?;
        let steps = u32::try_from(steps)
            .ok()
            .filter(|steps| (1..=MOST_STEPS).contains(steps))
            .ok_or_else(|| absurd("run of steps", steps, "a run has 1 to 4096"))?;
        Ok(Segment {
            actor: ActorId::from_raw(actor),
            steps,
            first_kind: *Kind::ALL
                .get(usize::from(kind))
                .ok_or_else(|| absurd("kind of object", u64::from(kind), "there is none such"))?,
            first_access: Access::from_number(access)
                .ok_or_else(|| absurd("access", u64::from(access), "there is none such"))?,
            check,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn small() -> ReplayFile {
        let mut recorder = Recorder::default();
        let mut digest = Digest::new();
        for step in 0..40u64 {
            digest.fold(step, step * step);
            let actor = ActorId::from_raw((step / 7 % 3) as u16);
            recorder.push(actor, Object::new(Kind::Lock, step), Access::Lock, digest);
        }
        ReplayFile {
            version: VERSION,
            config: r#"{"reproducer":"forkscrew"}"#.to_string(),
            seed: 7,
            steps: 40,
            digest,
            segments: recorder.finish(),
        }
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(
            ReplayFile::decode(&small().encode()).expect("whole"),
            small()
        );
    }

    #[test]
    fn a_long_run_of_one_actor_is_cut() {
        let mut recorder = Recorder::default();
        for _ in 0..=MOST_STEPS {
            recorder.push(
                ActorId::from_raw(1),
                Object::PRIVATE,
                Access::Read,
                Digest::new(),
            );
        }
        let steps: Vec<u32> = recorder.finish().iter().map(|it| it.steps).collect();
        assert_eq!(steps, [MOST_STEPS, 1]);
    }

    #[test]
    fn every_altered_byte_and_every_cut_is_noticed() {
        let whole = small().encode();
        for at in 0..whole.len() {
            assert!(ReplayFile::decode(&whole[..at]).is_err(), "cut at {at}");
            for change in [1u8, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= change;
                assert!(
                    ReplayFile::decode(&bytes).is_err(),
                    "byte {at} changed by {change}"
                );
            }
        }
        let mut longer = whole;
        longer.push(0);
        assert!(ReplayFile::decode(&longer).is_err());
    }

    #[test]
    fn errors_say_what_is_wrong_and_what_would_be_right() {
        let message = |bytes: &[u8]| ReplayFile::decode(bytes).expect_err("bad").to_string();
        assert!(message(b"").contains("empty"));
        assert!(message(b"PNG").contains("something else"));
        assert!(message(&small().encode()[..30]).contains("cut short"));
        let newer = ReplayFile {
            version: 9,
            ..small()
        };
        assert!(message(&newer.encode()).contains("version 9"));
        let mut absurd = MAGIC.to_vec();
        put(&mut absurd, u64::from(VERSION));
        put(&mut absurd, 1 << 60);
        assert!(message(&absurd).contains("cut short"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut tail in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = ReplayFile::decode(&tail);
            let mut bytes = MAGIC.to_vec();
            bytes.push(VERSION as u8);
            bytes.append(&mut tail);
            let _ = ReplayFile::decode(&bytes);
        }
    }
}
