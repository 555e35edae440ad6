//! The point of no return of a statement: files become visible, then the catalog changes.
//!
//! Once asked for, the outcome is awaited whatever happens to the job, so that nobody ever has to guess whether output
//! is visible. Journaled before and after.

use penstock_protocol::{
    event,
    ids::{StageId, StatementIndex},
};

use super::{End, Job, JobFailure, Outputs, StatementState};
use crate::{effect::Effect, journal::Fact, outbox::Outbox};

impl Job {
    pub(super) fn publish_files(&mut self, root: StageId, out: &mut Outbox) {
        let files = self.stages[&root].files();
        let statement = &mut self.statements[self.current];
        statement.state = StatementState::Publishing;
        let index = statement.index;
        out.journal(self.id, Fact::Publishing { statement: index, files: files.clone() });
        out.push(Effect::PublishSink { job: self.id, statement: index, files });
    }

    pub fn sink_published(
        &mut self,
        index: StatementIndex,
        outcome: Result<Outputs, JobFailure>,
        out: &mut Outbox,
    ) {
        let Some(statement) = self.awaiting(index, StatementState::Publishing) else { return };
        if statement.is_published {
            return;
        }
        let outputs = match outcome {
            Ok(outputs) => outputs,
            Err(failure) => return self.publication_failed(failure, out),
        };
        statement.is_published = true;
        statement.outputs = Some(outputs.clone());
        let changes_catalog = statement.changes_catalog;
        out.journal(self.id, Fact::Published { statement: index, outputs: outputs.clone() });
        self.totals.rows += outputs.rows;
        out.log(
            self.id,
            event::Event::OutputsCommitted(event::OutputsCommitted {
                statement: index,
                target: outputs.target,
                files: outputs.files,
                rows: outputs.rows,
                bytes: outputs.bytes,
            }),
        );
        match changes_catalog {
            true => self.apply_catalog(out),
            false => self.finish_statement(outputs.rows, out),
        }
    }

    /// A change of the catalog is published like files: once asked for, its outcome is awaited.
    pub(super) fn apply_catalog(&mut self, out: &mut Outbox) {
        let statement = &mut self.statements[self.current];
        statement.state = StatementState::Publishing;
        statement.is_published = true;
        out.push(Effect::ApplyCatalog { job: self.id, statement: statement.index });
    }

    pub fn catalog_applied(
        &mut self,
        index: StatementIndex,
        outcome: Result<(), JobFailure>,
        out: &mut Outbox,
    ) {
        let Some(statement) = self.awaiting(index, StatementState::Publishing) else { return };
        if !statement.is_published {
            return;
        }
        let rows = statement.outputs.as_ref().map_or(0, |outputs| outputs.rows);
        match outcome {
            Ok(()) => self.finish_statement(rows, out),
            Err(failure) => self.publication_failed(failure, out),
        }
    }

    fn publication_failed(&mut self, mut failure: JobFailure, out: &mut Outbox) {
        let statement = &mut self.statements[self.current];
        failure.place.statement = Some(statement.index.0);
        // The state goes back so that the job may end; nothing waits for this publication any more.
        statement.state = StatementState::Running;
        self.stopping = None;
        self.end(End::failed(failure), out);
    }
}
