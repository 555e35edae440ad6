//! The 22 queries of TPC-H and their answers, part of the program.

/// The scale at which the answers were made, by another engine.
pub const ANSWERS_SCALE: f64 = 0.1;

pub struct Query {
    pub number: u32,
    pub sql: &'static str,
    /// CSV with a header line.
    pub answer: &'static str,
    /// Columns that the rows are sorted by, where that leaves ties: tied rows may stand in any order.
    pub sorted_by: &'static [usize],
}

impl Query {
    pub fn name(&self) -> String {
        format!("q{:02}", self.number)
    }
}

macro_rules! query {
    ($number:literal, $file:literal, $sorted_by:expr) => {
        Query {
            number: $number,
            sql: include_str!(concat!("../../../examples/tpch/queries/", $file, ".sql")),
            answer: include_str!(concat!("../../../examples/tpch/answers-0.1/", $file, ".csv")),
            sorted_by: $sorted_by,
        }
    };
}

pub fn all() -> impl Iterator<Item = Query> {
    [
        query!(1, "q01", &[]),
        query!(2, "q02", &[]),
        query!(3, "q03", &[1, 2]),
        query!(4, "q04", &[]),
        query!(5, "q05", &[1]),
        query!(6, "q06", &[]),
        query!(7, "q07", &[]),
        query!(8, "q08", &[]),
        query!(9, "q09", &[]),
        query!(10, "q10", &[2]),
        query!(11, "q11", &[1]),
        query!(12, "q12", &[]),
        query!(13, "q13", &[]),
        query!(14, "q14", &[]),
        query!(15, "q15", &[]),
        query!(16, "q16", &[]),
        query!(17, "q17", &[]),
        query!(18, "q18", &[4, 3]),
        query!(19, "q19", &[]),
        query!(20, "q20", &[]),
        query!(21, "q21", &[]),
        query!(22, "q22", &[]),
    ]
    .into_iter()
}
