//! The name that was probably meant.

/// The candidate most like `name`, if any is like it at all. Case is ignored; ties go to the first.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = name.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (likeness(&wanted, &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// ``did you mean `x`?``, if there is a candidate near enough.
pub fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(name, candidates).map(|candidate| format!("did you mean `{candidate}`?"))
}

/// Below this, a suggestion confuses more often than it helps.
const LIKENESS_MIN: f64 = 0.6;

/// Edit distance with transpositions, or the likeness of the last segments of dotted names, whichever is closer.
fn likeness(a: &str, b: &str) -> f64 {
    let whole = strsim::normalized_damerau_levenshtein(a, b);
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let (last_a, last_b) = (last(a), last(b));
    let segment = strsim::normalized_damerau_levenshtein(&last_a, &last_b);
    whole.max(segment - 0.01)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_wins_and_far_ones_are_not_offered() {
        let names = ["l_orderkey", "l_partkey", "l_comment"];
        assert_eq!(nearest("l_ordrekey", names), Some("l_orderkey"));
        assert_eq!(nearest("L_PARTKEY", names), Some("l_partkey"));
        assert_eq!(nearest("banana", names), None);
    }

    #[test]
    fn a_setting_is_found_by_its_last_segment() {
        let names = ["datafusion.execution.batch_size", "datafusion.execution.time_zone"];
        assert_eq!(nearest("penstock.batchsize", names), Some("datafusion.execution.batch_size"));
    }
}
