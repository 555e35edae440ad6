use super::*;

fn texts(script: &str) -> Vec<String> {
    let script = Script::parse(script).expect("parses");
    (0..script.len()).map(|index| script.statement_sql(index).to_owned()).collect()
}

fn mistake(script: &str) -> String {
    Script::parse(script).expect_err("is a mistake").to_string()
}

#[test]
fn statements_are_split_at_semicolons_outside_of_strings_and_comments() {
    let script = "-- first;\nselect ';' as a; /* ; */\n\nselect \"b;\" from t -- end;\n;;";
    assert_eq!(texts(script), ["select ';' as a", "select \"b;\" from t"]);
}

#[test]
fn a_statement_keeps_its_text_beyond_ascii() {
    assert_eq!(texts("select 'größe' as \"naïve\"; select 2"), ["select 'größe' as \"naïve\"", "select 2"]);
}

#[test]
fn a_syntax_error_has_line_column_and_caret() {
    let message = mistake("select 1;\nselect a b c from t");
    assert!(message.contains("at line 2, column 12"), "{message}");
    assert!(message.contains("2 | select a b c from t\n    |            ^"), "{message}");
}

#[test]
fn an_unfinished_statement_points_at_its_end() {
    let message = mistake("select (1 + 2");
    assert!(message.contains("at line 1, column 14"), "{message}");
}

#[test]
fn an_unclosed_string_is_named() {
    let message = mistake("select 'abc");
    assert!(message.contains("unterminated string"), "{message}");
    assert!(message.contains("line 1, column 8"), "{message}");
}

#[test]
fn nesting_without_end_is_an_error() {
    let script = format!("select {}1{}", "(".repeat(5_000), ")".repeat(5_000));
    let message = mistake(&script);
    assert!(message.starts_with("the statement is nested more than 100 levels deep\n"), "{message}");
    assert!(message.len() < 600, "{message}");
}

#[test]
fn an_empty_script_is_an_error() {
    assert_eq!(mistake("  -- nothing\n;;"), "the script has no statement");
}

#[test]
fn placeholders_are_found_with_their_place() {
    let script = Script::parse("select $a,\n  $b").expect("parses");
    let found: Vec<_> = script.placeholders().map(|(name, at)| (name.as_str(), at.line, at.column)).collect();
    assert_eq!(found, [("a", 1, 8), ("b", 2, 3)]);
}

#[test]
fn insert_overwrite_needs_no_table_keyword() {
    for script in [
        "insert overwrite t select 1",
        "insert overwrite table t select 1",
        "insert overwrite into t select 1",
    ] {
        assert_eq!(texts(script), [script]);
    }
}

#[test]
fn explain_distributed_is_a_statement() {
    let script = Script::parse("explain distributed select 1").expect("parses");
    assert!(matches!(script.parsed(0, &Parameters::new()), Ok(Parsed::ExplainDistributed(_))));
}
