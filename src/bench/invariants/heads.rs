//! Packed heads of HTTP/2: what is read can be written again.

use crate::bench::transport::http2::hpack::{self, Malformed, Table, Text};

/// Names and values.
pub type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// Reads a head, gives what stands in it, for whoever has another reader to compare with; `None` if it is malformed.
///
/// # Panics
///
/// What was read is read differently once it was written again.
pub fn heads(block: &[u8]) -> Option<Fields> {
    let mut table = Table::default();
    let fields = read(&mut table, block).ok()?;
    let mut written = Vec::new();
    fields.iter().for_each(|(name, value)| hpack::write(&mut written, name, value));
    // On this connection, whose table is not empty, as on any other.
    for mut table in [table, Table::default()] {
        assert_eq!(read(&mut table, &written).as_ref(), Ok(&fields));
    }
    Some(fields)
}

pub(super) fn read(table: &mut Table, block: &[u8]) -> Result<Fields, Malformed> {
    let mut fields = Vec::new();
    let own = |text: Text<'_>| text.decode(&mut Vec::new()).map(<[u8]>::to_vec);
    table.walk(block, |name, value| {
        fields.push((own(name)?, own(value)?));
        Ok(())
    })?;
    Ok(fields)
}
