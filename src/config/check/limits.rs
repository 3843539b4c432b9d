//! Resource limits of a service.

use super::super::fields::Fields;
use super::super::model::Limits;
use super::super::reader::Reader;
use super::super::source::Place;
use super::super::syntax::{self, Shape};
use super::value;
use crate::types::error::Code;

/// `RLIM_INFINITY` of Linux.
const UNLIMITED: u64 = u64::MAX;

/// `(memory_max: "256MiB", tasks_max: 64, nofile: 4096, ...)`.
pub(super) fn read(reader: &mut Reader<'_>, place: Place) -> Limits {
    let Some(mut fields) = Fields::open(place, place, "`limits`", reader) else {
        return Limits::default();
    };
    let limits = Limits {
        memory_high: fields.take("memory_high", reader).and_then(|at| value::size(reader, at)),
        memory_max: fields.take("memory_max", reader).and_then(|at| value::size(reader, at)),
        cpu_weight: fields.take("cpu_weight", reader).and_then(|at| reader.number(at, 1..=10_000)),
        cpu_percent: fields
            .take("cpu_percent", reader)
            .and_then(|at| reader.number(at, 1..=100_000)),
        tasks_max: fields.take("tasks_max", reader).and_then(|at| count(reader, at, 1)),
        nofile: fields.take("nofile", reader).and_then(|at| count(reader, at, 3)),
        nproc: fields.take("nproc", reader).and_then(|at| limit(reader, at, count_from_zero)),
        core: fields.take("core", reader).and_then(|at| limit(reader, at, value::size)),
        address_space: fields
            .take("address_space", reader)
            .and_then(|at| limit(reader, at, value::size)),
        file_size: fields.take("file_size", reader).and_then(|at| limit(reader, at, value::size)),
        memlock: fields.take("memlock", reader).and_then(|at| limit(reader, at, value::size)),
    };
    fields.finish(reader);
    if let (Some(high), Some(max)) = (limits.memory_high, limits.memory_max)
        && high > max
    {
        let message = "`memory_high` must not be larger than `memory_max`";
        reader.error(Code::InvalidValue, place, message);
    }
    limits
}

fn count(reader: &mut Reader<'_>, place: Place, least: u64) -> Option<u64> {
    reader.number(place, least..=i64::MAX.unsigned_abs())
}

fn count_from_zero(reader: &mut Reader<'_>, place: Place) -> Option<u64> {
    count(reader, place, 0)
}

/// `unlimited`, or what `otherwise` reads.
fn limit(
    reader: &mut Reader<'_>,
    place: Place,
    otherwise: fn(&mut Reader<'_>, Place) -> Option<u64>,
) -> Option<u64> {
    if syntax::shape(reader.typed(place)) == Shape::Word {
        return reader.choice(place, "limit", &[("unlimited", UNLIMITED)]);
    }
    otherwise(reader, place)
}
