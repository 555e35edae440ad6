//! A table's Arrow schema as a value that can be stored.

use arrow::{
    datatypes::{Schema, SchemaRef},
    ipc::{
        convert::{IpcSchemaEncoder, fb_to_schema},
        writer::DictionaryTracker,
    },
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::sync::Arc;

/// Stored as the Arrow IPC form of the schema in hexadecimal: the one form that keeps every type and all metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSchema(SchemaRef);

impl TableSchema {
    pub fn new(schema: SchemaRef) -> Self {
        Self(schema)
    }

    pub fn arrow(&self) -> &SchemaRef {
        &self.0
    }
}

impl Serialize for TableSchema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut dictionaries = DictionaryTracker::new(false);
        let encoded =
            IpcSchemaEncoder::new().with_dictionary_tracker(&mut dictionaries).schema_to_fb(&self.0);
        serializer.serialize_str(&to_hex(encoded.finished_data()))
    }
}

impl<'de> Deserialize<'de> for TableSchema {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = from_hex(&text).ok_or_else(|| D::Error::custom("a table's schema is not hexadecimal"))?;
        let encoded = arrow::ipc::root_as_schema(&bytes).map_err(D::Error::custom)?;
        // The conversion takes the list of fields for granted.
        encoded.fields().ok_or_else(|| D::Error::custom("a table's schema has no fields"))?;
        let schema: Schema = fb_to_schema(encoded);
        Ok(Self(Arc::new(schema)))
    }
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{DataType, Field};

    #[test]
    fn a_schema_survives_storage() {
        let inner = Field::new("country", DataType::Utf8View, true);
        let schema = TableSchema::new(Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("geo", DataType::Struct(vec![inner].into()), true),
            Field::new("day", DataType::Dictionary(DataType::UInt16.into(), DataType::Utf8.into()), false),
        ])));
        let json = serde_json::to_string(&schema).expect("serialises");
        assert_eq!(serde_json::from_str::<TableSchema>(&json).expect("deserialises"), schema);
        assert!(serde_json::from_str::<TableSchema>("\"zz\"").is_err());
        assert!(serde_json::from_str::<TableSchema>("\"00000000\"").is_err());
    }
}
