//! A script as a sequence of statements, each with its text and its place.
//!
//! The whole script is tokenised once, so every span in a statement's syntax tree is a place in the script.

use std::ops::Range;

use datafusion::sql::{
    parser::{DFParserBuilder, Statement},
    sqlparser::{
        dialect::{Dialect, GenericDialect},
        keywords::Keyword,
        tokenizer::{Location, Token, TokenWithSpan, Tokenizer, Whitespace},
    },
};

use crate::{
    error::{Position, SqlError},
    parameters::{self, Parameters},
};

/// Nesting that is parsed at most; deeper text is an error, not a stack overflow.
const NESTING_MAX: usize = 100;

/// A parsed script.
#[derive(Debug, Clone)]
pub struct Script {
    text: String,
    statements: Vec<ScriptStatement>,
}

#[derive(Debug, Clone)]
pub(crate) struct ScriptStatement {
    tokens: Vec<TokenWithSpan>,
    /// Known at once for a statement without placeholders; one with placeholders is parsed with their values.
    parsed: Option<Parsed>,
    /// Bytes of the statement in the script, without the semicolon.
    range: Range<usize>,
    pub start: Position,
    /// `$name` placeholders with their places.
    pub placeholders: Vec<(String, Position)>,
    /// Words that may be names, with their places: for errors that name one and have no place.
    pub words: Vec<(String, Position)>,
}

/// A statement of DataFusion's grammar, or of ours.
#[derive(Debug, Clone)]
pub(crate) enum Parsed {
    Statement(Box<Statement>),
    ExplainDistributed(Box<Statement>),
}

impl Script {
    /// Splits and parses. The error is the first mistake, with its place.
    pub fn parse(text: &str) -> Result<Self, SqlError> {
        let tokens = tokenize(text)?;
        let statements = split(&tokens)
            .into_iter()
            .map(|tokens| parse_statement(text, tokens))
            .collect::<Result<Vec<_>, _>>()?;
        if statements.is_empty() {
            return Err(SqlError::sql("the script has no statement"));
        }
        Ok(Self { text: text.to_owned(), statements })
    }

    /// Number of statements; at least one.
    pub fn len(&self) -> usize {
        self.statements.len()
    }

    pub fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text of a statement as it was written; empty if there is no such statement.
    pub fn statement_sql(&self, index: usize) -> &str {
        self.statements.get(index).map_or("", |statement| &self.text[statement.range.clone()])
    }

    pub(crate) fn statement(&self, index: usize) -> Result<&ScriptStatement, SqlError> {
        self.statements
            .get(index)
            .ok_or_else(|| SqlError::sql(format!("the script has no statement {}", index + 1)))
    }

    /// The syntax tree of a statement, with the values of its placeholders in their places.
    pub(crate) fn parsed(&self, index: usize, parameters: &Parameters) -> Result<Parsed, SqlError> {
        let statement = self.statement(index)?;
        match &statement.parsed {
            Some(parsed) => Ok(parsed.clone()),
            None => parse_tokens(&self.text, parameters::substitute(&statement.tokens, parameters)),
        }
    }

    /// Names of all placeholders, with their places.
    pub(crate) fn placeholders(&self) -> impl Iterator<Item = &(String, Position)> {
        self.statements.iter().flat_map(|statement| &statement.placeholders)
    }
}

impl From<Location> for Position {
    fn from(location: Location) -> Self {
        Self { line: location.line, column: location.column }
    }
}

fn dialect() -> &'static dyn Dialect {
    &GenericDialect {}
}

fn tokenize(text: &str) -> Result<Vec<TokenWithSpan>, SqlError> {
    Tokenizer::new(dialect(), text)
        .tokenize_with_location()
        .map_err(|error| SqlError::sql(lower_first(&error.message)).at(text, error.location.into()))
}

/// The tokens of each statement; statements of nothing but space and comments are left out.
fn split(tokens: &[TokenWithSpan]) -> Vec<&[TokenWithSpan]> {
    tokens
        .split(|token| token.token == Token::SemiColon)
        .filter(|tokens| tokens.iter().any(|token| is_text(&token.token)))
        .collect()
}

fn is_text(token: &Token) -> bool {
    !matches!(token, Token::Whitespace(_) | Token::EOF)
}

fn parse_statement(text: &str, tokens: &[TokenWithSpan]) -> Result<ScriptStatement, SqlError> {
    let written: Vec<&TokenWithSpan> = tokens.iter().filter(|token| is_text(&token.token)).collect();
    let (Some(first), Some(last)) = (written.first(), written.last()) else {
        return Err(SqlError::sql("the statement is empty"));
    };
    let range = offset(text, first.span.start)..offset(text, last.span.end);
    let placeholders = placeholders(&written);
    let parsed = match placeholders.is_empty() {
        true => Some(parse_tokens(text, tokens.to_vec())?),
        false => None,
    };
    Ok(ScriptStatement {
        tokens: tokens.to_vec(),
        parsed,
        range,
        start: first.span.start.into(),
        placeholders,
        words: words(&written),
    })
}

fn parse_tokens(text: &str, tokens: Vec<TokenWithSpan>) -> Result<Parsed, SqlError> {
    match explain_distributed(&tokens) {
        Some(rest) => parse_with_datafusion(text, rest).map(Parsed::ExplainDistributed),
        None => parse_with_datafusion(text, tokens).map(Parsed::Statement),
    }
}

/// What follows `EXPLAIN DISTRIBUTED`.
fn explain_distributed(tokens: &[TokenWithSpan]) -> Option<Vec<TokenWithSpan>> {
    let mut written = tokens.iter().enumerate().filter(|(_, token)| is_text(&token.token));
    let mut next_is = |word: &str| match written.next() {
        Some((index, TokenWithSpan { token: Token::Word(found), .. })) => {
            (found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word)).then_some(index)
        }
        _ => None,
    };
    next_is("explain")?;
    let distributed = next_is("distributed")?;
    Some(tokens[distributed + 1..].to_vec())
}

fn parse_with_datafusion(text: &str, tokens: Vec<TokenWithSpan>) -> Result<Box<Statement>, SqlError> {
    let end = tokens.iter().rfind(|token| is_text(&token.token)).map(|token| Position::from(token.span.end));
    let mut parser = DFParserBuilder::new(rewrite_insert_overwrite(tokens))
        .with_dialect(dialect())
        .with_recursion_limit(NESTING_MAX)
        .build()
        .map_err(|error| SqlError::sql(error.strip_backtrace()))?;
    let mut statements = parser.parse_statements().map_err(|error| syntax_error(text, &error, end))?;
    statements.pop_front().map(Box::new).ok_or_else(|| SqlError::sql("the statement is empty"))
}

/// `INSERT OVERWRITE t` is read as `INSERT OVERWRITE TABLE t`, and `INSERT OVERWRITE INTO t` too.
fn rewrite_insert_overwrite(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let written: Vec<usize> = (0..tokens.len()).filter(|i| is_text(&tokens[*i].token)).collect();
    let keyword = |position: usize| match written.get(position).map(|i| &tokens[*i].token) {
        Some(Token::Word(word)) => word.keyword,
        _ => Keyword::NoKeyword,
    };
    if keyword(0) != Keyword::INSERT || keyword(1) != Keyword::OVERWRITE {
        return tokens;
    }
    match keyword(2) {
        Keyword::TABLE => tokens,
        Keyword::INTO => {
            let index = written[2];
            tokens[index].token = Token::make_keyword("TABLE");
            tokens
        }
        _ => {
            let at = written[1];
            let span = tokens[at].span;
            let space = TokenWithSpan::new(Token::Whitespace(Whitespace::Space), span);
            tokens.splice(at + 1..at + 1, [space, TokenWithSpan::new(Token::make_keyword("TABLE"), span)]);
            tokens
        }
    }
}

fn syntax_error(text: &str, error: &datafusion::error::DataFusionError, end: Option<Position>) -> SqlError {
    let message = error.strip_backtrace();
    if message.contains("RecursionLimitExceeded") {
        let error = SqlError::sql(format!("the statement is nested more than {NESTING_MAX} levels deep"));
        return end.map_or(error.clone(), |end| error.at(text, end));
    }
    let message = message.strip_prefix("SQL error: ").unwrap_or(&message);
    let message =
        message.strip_prefix("ParserError(\"").and_then(|m| m.strip_suffix("\")")).unwrap_or(message);
    let (message, position) = split_position(message);
    let error = SqlError::sql(format!("syntax error: {}", lower_first(message)));
    match position.or(end) {
        Some(position) => error.at(text, position),
        None => error,
    }
}

/// sqlparser ends its messages with ` at Line: 1, Column: 8`.
fn split_position(message: &str) -> (&str, Option<Position>) {
    let Some((before, place)) = message.rsplit_once(" at Line: ") else { return (message, None) };
    let digits = |text: &str| text.trim_matches(|c: char| !c.is_ascii_digit()).parse().ok();
    let position = place
        .split_once(", Column: ")
        .and_then(|(line, column)| Some(Position { line: digits(line)?, column: digits(column)? }));
    match position {
        Some(position) if position.line > 0 => (before, Some(position)),
        _ => (before, None),
    }
}

fn placeholders(tokens: &[&TokenWithSpan]) -> Vec<(String, Position)> {
    let name = |token: &&TokenWithSpan| match &token.token {
        Token::Placeholder(name) => Some((name.trim_start_matches('$').to_owned(), token.span.start.into())),
        _ => None,
    };
    tokens.iter().filter_map(name).collect()
}

fn words(tokens: &[&TokenWithSpan]) -> Vec<(String, Position)> {
    let word = |token: &&TokenWithSpan| match &token.token {
        Token::Word(word) => Some((word.value.clone(), token.span.start.into())),
        // In place of a table's name it means one.
        Token::SingleQuotedString(text) => Some((text.clone(), token.span.start.into())),
        _ => None,
    };
    tokens.iter().filter_map(word).collect()
}

/// Byte offset of a place; the end of the text if the place is behind it.
fn offset(text: &str, location: Location) -> usize {
    let line_start = match location.line {
        0 | 1 => 0,
        line => {
            let newlines = text.match_indices('\n').map(|(index, _)| index + 1);
            let index = usize::try_from(line - 2).unwrap_or(usize::MAX);
            newlines.into_iter().nth(index).unwrap_or(text.len())
        }
    };
    let column = usize::try_from(location.column.saturating_sub(1)).unwrap_or(usize::MAX);
    let rest = &text[line_start..];
    rest.char_indices().nth(column).map_or(text.len(), |(index, _)| line_start + index)
}

fn lower_first(message: &str) -> String {
    let mut chars = message.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests;
