//! Why an exchange is the way it is, in words. Pure; says nothing that the log does not prove.

use std::collections::BTreeMap;

use penstock_protocol::shuffle::EpochEnd;

use super::ExchangeHistory;

/// Below this, a difference between partitions is not worth a word.
const SKEW_MIN: f64 = 2.0;
/// Below this, a wait is not worth a word.
const WAIT_MS_MIN: u64 = 1000;

pub fn why(exchange: &ExchangeHistory, settings: &BTreeMap<&str, &str>) -> Vec<String> {
    let facts = [
        partitions(exchange, settings),
        copies(exchange),
        placed_late(exchange),
        epochs(exchange),
        skew(exchange),
        resent(exchange),
        failovers(exchange),
        failed_copies(exchange),
        slow_commit(exchange),
    ];
    facts.into_iter().flatten().chain(lost(exchange)).collect()
}

fn partitions(exchange: &ExchangeHistory, settings: &BTreeMap<&str, &str>) -> Option<String> {
    let count = exchange.partitions;
    let set = settings.get("penstock.partitions").filter(|set| **set == count.to_string());
    match (exchange.output.as_str(), set) {
        ("gather" | "result", _) if count == 1 => {
            Some("One partition: one reader takes all rows.".to_owned())
        }
        ("gather", _) => Some(format!(
            "{}, one for each task that wrote: readers take all of them, in order.",
            capital(plural(count.into(), "partition"))
        )),
        (output, Some(set)) if output.starts_with("hash") || output.starts_with("round robin") => Some(
            format!("{}, because penstock.partitions is {set}.", capital(plural(count.into(), "partition"))),
        ),
        _ => None,
    }
}

fn copies(exchange: &ExchangeHistory) -> Option<String> {
    match exchange.copies? {
        0 => None,
        1 => Some("One copy (shuffle_copies): losing a worker means that the stage runs again.".to_owned()),
        copies => Some(format!("{copies} copies (shuffle_copies): losing one worker loses nothing.")),
    }
}

fn placed_late(exchange: &ExchangeHistory) -> Option<String> {
    let waited = exchange.placed_waited_ms.filter(|waited| *waited >= WAIT_MS_MIN)?;
    Some(format!("Workers had room for it only after {}.", seconds(waited)))
}

fn epochs(exchange: &ExchangeHistory) -> Option<String> {
    let reasons: Vec<String> = exchange
        .epoch_reasons
        .iter()
        .map(|reason| format!("{} {}", plural(reason.partitions, "time"), reason.text))
        .collect();
    if reasons.is_empty() {
        return None;
    }
    let moved: u64 = exchange.epoch_reasons.iter().map(|reason| reason.partitions).sum();
    Some(format!("Partitions went on in new epochs {}: {}.", plural(moved, "time"), reasons.join(", ")))
}

/// Goes on after "3 partitions", or "3 times".
pub fn reason(why: EpochEnd) -> &'static str {
    match why {
        EpochEnd::Grown => "because a part had grown to the size at which it is split",
        EpochEnd::Full => "because the part was as large as it may be, or its worker had no more room",
        EpochEnd::Closing => "because the worker was leaving",
        EpochEnd::TurnedAway => "because the worker had no connection left for the writer",
        EpochEnd::WorkerLost => "because the worker did not answer or had lost what it held",
        EpochEnd::ReplicaLost => "because the second copy could not be stored",
        EpochEnd::Damaged => "because bytes arrived damaged",
        EpochEnd::Other => "for a reason that the log does not name",
    }
}

fn skew(exchange: &ExchangeHistory) -> Option<String> {
    let skew = exchange.skew.filter(|skew| *skew >= SKEW_MIN)?;
    let largest = exchange.largest.iter().max_by_key(|partition| partition.bytes)?;
    Some(format!("Partition {} holds {skew:.1} times the bytes of the median one.", largest.partition))
}

fn resent(exchange: &ExchangeHistory) -> Option<String> {
    let resent = exchange.write.pushes_resent;
    (resent > 0).then(|| {
        format!("{} sent again, because nobody knew what had become of them.", was(resent, "push", "pushes"))
    })
}

fn failovers(exchange: &ExchangeHistory) -> Option<String> {
    let failovers = exchange.read.failovers;
    (failovers > 0)
        .then(|| format!("Readers took the other copy {} because one failed.", plural(failovers, "time")))
}

fn failed_copies(exchange: &ExchangeHistory) -> Option<String> {
    let failed: Vec<String> = exchange
        .workers
        .iter()
        .filter(|worker| worker.failed > 0)
        .map(|worker| {
            let copies = if worker.failed == 1 { "copy" } else { "copies" };
            format!("{} {copies} on {}", worker.failed, worker.worker)
        })
        .collect();
    (!failed.is_empty() && exchange.committed_at.is_some())
        .then(|| format!("{} could not be committed; another copy of each was good.", failed.join(" and ")))
}

fn slow_commit(exchange: &ExchangeHistory) -> Option<String> {
    let took = exchange.commit_took_ms.filter(|took| *took >= WAIT_MS_MIN)?;
    Some(format!("Its commit took {}.", seconds(took)))
}

fn lost(exchange: &ExchangeHistory) -> impl Iterator<Item = String> {
    exchange.lost_runs.iter().map(|lost| format!("Run {} was thrown away: {}.", lost.run + 1, lost.reason))
}

fn was(count: u64, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one} was") } else { format!("{count} {many} were") }
}

pub(super) fn plural(count: u64, word: &str) -> String {
    match (count, word) {
        (1, "time") => "once".to_owned(),
        (2, "time") => "twice".to_owned(),
        (1, word) => format!("1 {word}"),
        (count, word) => format!("{count} {word}s"),
    }
}

fn capital(text: String) -> String {
    match text.strip_prefix("1 ") {
        Some(rest) => format!("One {rest}"),
        None => text,
    }
}

fn seconds(ms: u64) -> String {
    format!("{:.1} s", ms as f64 / 1000.0)
}
