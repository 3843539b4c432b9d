//! What stands before the bytes in a file of transit, and in a slot of unfinished lines: whose they are, and what came
//! before them. Binary, little endian, with checksums; written anew for each read, so kept small.
//!
//! ```text
//!  0 magic  8 length of the record  12 checksum of it   16 position: 4 numbers, checksum   52 held   64 the rest
//! ```

use std::borrow::Cow;
use std::io;

use flate2::Crc;

use crate::logs::line::{MAX_PAYLOAD, Micros, Stream};
use crate::logs::pump::SinkOptions;
use crate::types::name::{self, Name};
use crate::types::policy::OnFull;

/// The last byte is the version.
const MAGIC: [u8; 8] = *b"cafelog\x01";

/// Where the position is.
pub(super) const POSITION: u64 = 16;

/// Where the mark is that a transit is held by a file that cannot be written.
pub(super) const HELD: u64 = 52;

/// Length of the part before the rest.
const FIXED: usize = 64;

/// Length of all of the rest but the name and the unfinished line.
const NUMBERS: usize = 40;

/// Largest record, bytes.
pub(super) const LARGEST: usize = FIXED + NUMBERS + name::MAX_LENGTH + MAX_PAYLOAD;

/// What is done with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// The bytes after the record are framed.
    Push,
    /// The unfinished line is written, and goes on.
    Flush,
    /// The unfinished line is written, and ends.
    Finish,
}

/// Whose bytes these are, and what is done with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) service: Cow<'a, Name>,
    pub(crate) generation: u64,
    pub(crate) options: SinkOptions,
    pub(crate) stream: Stream,
    pub(crate) operation: Operation,
    /// Stamp of the lines.
    pub(crate) at: Micros,
    /// Whether the stream was in a line whose head is written already.
    pub(crate) continued: bool,
    /// Its unfinished line before.
    pub(crate) partial: Cow<'a, [u8]>,
}

/// Where the lines go: from byte `base` of a file on, without their first `done` bytes, which are written elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Position {
    pub(crate) done: u64,
    pub(crate) device: u64,
    /// 0: no file was open.
    pub(crate) inode: u64,
    pub(crate) base: u64,
}

/// What a file begins with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// A record of this length.
    Whole { record: Box<Record<'static>>, position: Position, held: bool, length: u64 },
    /// Nothing, or a record that its writer did not finish: no bytes follow it.
    Nothing,
}

impl Record<'_> {
    /// Writes it into `out`, in place of what is there.
    pub(crate) fn encode(&self, position: Position, out: &mut Vec<u8>) {
        out.clear();
        out.resize(FIXED, 0);
        out.extend_from_slice(&self.at.to_le_bytes());
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&self.options.max_file.to_le_bytes());
        out.extend_from_slice(&self.options.keep.to_le_bytes());
        let on_full = u8::from(self.options.on_full == OnFull::Drop);
        let stream = match self.stream {
            Stream::Stdout => 0,
            Stream::Stderr => 1,
            Stream::Cafe => 2,
        };
        let operation = match self.operation {
            Operation::Push => 0,
            Operation::Flush => 1,
            Operation::Finish => 2,
        };
        let (name, partial) = (self.service.as_str().as_bytes(), &self.partial);
        // A name has at most 64 bytes, an unfinished line 16 KiB.
        let (name_length, partial_length) = (name.len() as u32, partial.len() as u32);
        out.extend_from_slice(&[on_full, stream, operation, u8::from(self.continued)]);
        out.extend_from_slice(&name_length.to_le_bytes());
        out.extend_from_slice(&partial_length.to_le_bytes());
        out.extend_from_slice(name);
        out.extend_from_slice(partial);
        let length = (out.len() as u32).to_le_bytes();
        let sum = checksum(&[&length, &out[FIXED..]]);
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&length);
        out[12..16].copy_from_slice(&sum);
        out[16..52].copy_from_slice(&position.encode());
    }
}

impl Position {
    pub(super) fn encode(self) -> [u8; 36] {
        let mut bytes = [0; 36];
        let numbers = [self.done, self.device, self.inode, self.base];
        for (place, number) in bytes.chunks_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        let sum = checksum(&[&bytes[..32]]);
        bytes[32..].copy_from_slice(&sum);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (numbers, sum) = bytes.split_at_checked(32)?;
        let number = |index: usize| long(numbers.get(index * 8..)?);
        let position =
            Self { done: number(0)?, device: number(1)?, inode: number(2)?, base: number(3)? };
        (checksum(&[numbers]) == sum).then_some(position)
    }
}

/// Reads the beginning of a file.
///
/// # Errors
/// `InvalidData` when it is not of this pump: of another version, or damaged.
pub(super) fn decode(bytes: &[u8]) -> io::Result<Head> {
    let damaged = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidData, what.to_owned()));
    if !MAGIC.starts_with(&bytes[..bytes.len().min(MAGIC.len())]) {
        return damaged("it is of another program or version");
    }
    let Some(length) = bytes.get(8..12).and_then(short) else {
        return Ok(Head::Nothing);
    };
    let length = length as usize;
    if !(FIXED + NUMBERS..=LARGEST).contains(&length) {
        return damaged("its length is impossible");
    }
    let Some(whole) = bytes.get(..length) else { return Ok(Head::Nothing) };
    if checksum(&[&whole[8..12], &whole[FIXED..]]) != whole[12..16] {
        return damaged("its checksum is wrong");
    }
    let (Some(record), Some(position)) = (body(&whole[FIXED..]), Position::decode(&whole[16..52]))
    else {
        return damaged("it makes no sense");
    };
    let held = whole[HELD as usize] != 0;
    Ok(Head::Whole { record: Box::new(record), position, held, length: length as u64 })
}

fn body(bytes: &[u8]) -> Option<Record<'static>> {
    let [on_full, stream, operation, continued] = *bytes.get(28..32)?.as_array()?;
    let name_end = NUMBERS.checked_add(short(bytes.get(32..)?)? as usize)?;
    let end = name_end.checked_add(short(bytes.get(36..)?)? as usize)?;
    let name = std::str::from_utf8(bytes.get(NUMBERS..name_end)?).ok()?;
    let partial = bytes.get(name_end..end).filter(|_| end == bytes.len())?;
    Some(Record {
        service: Cow::Owned(name.parse().ok()?),
        generation: long(bytes.get(8..)?)?,
        options: SinkOptions {
            max_file: long(bytes.get(16..)?)?,
            keep: short(bytes.get(24..)?)?,
            on_full: if on_full == 0 { OnFull::Block } else { OnFull::Drop },
        },
        stream: match stream {
            0 => Stream::Stdout,
            1 => Stream::Stderr,
            2 => Stream::Cafe,
            _ => return None,
        },
        operation: match operation {
            0 => Operation::Push,
            1 => Operation::Flush,
            2 => Operation::Finish,
            _ => return None,
        },
        at: long(bytes)?,
        continued: continued != 0,
        partial: Cow::Owned(partial.to_vec()),
    })
}

fn long(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.first_chunk()?))
}

fn short(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.first_chunk()?))
}

fn checksum(parts: &[&[u8]]) -> [u8; 4] {
    let mut sum = Crc::new();
    parts.iter().for_each(|part| sum.update(part));
    sum.sum().to_le_bytes()
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::{any, proptest};

    use super::{Head, LARGEST, MAX_PAYLOAD, Operation, Position, Record, decode};
    use crate::logs::line::Stream;
    use crate::logs::pump::SinkOptions;
    use crate::types::policy::OnFull;

    const POSITION: Position = Position { done: 1, device: 2, inode: 3, base: 1 << 40 };

    fn record(partial: &[u8]) -> Record<'static> {
        Record {
            service: Cow::Owned("x".repeat(64).parse().expect("a name")),
            generation: 7,
            options: SinkOptions { max_file: 10, keep: 3, on_full: OnFull::Drop },
            stream: Stream::Stderr,
            operation: Operation::Flush,
            at: 1_700_000_000_000_000,
            continued: true,
            partial: Cow::Owned(partial.to_vec()),
        }
    }

    fn encoded(record: &Record<'_>) -> Vec<u8> {
        let mut out = vec![1; 3];
        record.encode(POSITION, &mut out);
        out
    }

    #[test]
    fn it_comes_back_whole_or_is_known_to_be_torn_or_damaged() {
        for partial in [b"".to_vec(), b"half".to_vec(), vec![b'x'; MAX_PAYLOAD]] {
            let record = record(&partial);
            let bytes = encoded(&record);
            assert!(bytes.len() <= LARGEST);
            let mut followed = bytes.clone();
            followed.extend(b"bytes of the service");
            let length = bytes.len() as u64;
            let whole =
                Head::Whole { record: Box::new(record), position: POSITION, held: false, length };
            assert_eq!(decode(&followed).expect("reads"), whole);
            for cut in [0, 3, 8, 12, 63, bytes.len() - 1] {
                assert_eq!(decode(&bytes[..cut]).expect("torn"), Head::Nothing, "{cut}");
            }
            for place in (0..52).chain(64..bytes.len().min(300)) {
                let mut damaged = bytes.clone();
                damaged[place] ^= 0x20;
                let torn = matches!(decode(&damaged), Ok(Head::Nothing));
                assert!(decode(&damaged).is_err() || ((8..12).contains(&place) && torn), "{place}");
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_stands_there_nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
            let mut like_ours = encoded(&record(b"half"));
            for (place, byte) in like_ours.iter_mut().skip(8).zip(&bytes) {
                *place ^= byte;
            }
            let _ = decode(&like_ours);
        }
    }
}
