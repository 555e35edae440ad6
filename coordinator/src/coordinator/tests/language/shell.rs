//! The shell's part in the world of the sentences: what the core wants is told in words, and answered.

use std::sync::Arc;

use penstock_protocol::{
    event::{Event as LogEvent, StatementPlanned},
    ids::{
        AttemptId, Epoch, Incarnation, JobId, PartitionIndex, ShuffleId, StageId, StatementIndex, TaskId,
        WorkerId,
    },
    shuffle::{CommitVerdict, Location, ShuffleTarget, WorkerAddress},
    task::FailureClass,
};

use super::{World, plan};
use crate::{
    effect::{Dispatch, Effect},
    event::Event,
    job::{AttemptTarget, Host, JobFailure, Outputs, StatementPlan, StatementText, StatementWork},
    journal::Fact,
};

impl World {
    pub(super) fn observe(&mut self, effect: &Effect) {
        match effect {
            Effect::AnswerSubmit { answer, .. } => self.say_answer(answer),
            Effect::Journal { record, job } => {
                if let Fact::Dispatched { attempts } = &record.fact {
                    self.journaled.extend(attempts.iter().map(|attempt| AttemptId {
                        task: TaskId { job: *job, stage: attempt.stage, index: attempt.task },
                        number: attempt.attempt,
                    }));
                }
                if let Fact::RunAgain { stage, run, .. } = &record.fact {
                    let shuffle = ShuffleId { job: *job, exchange: *stage, run: *run };
                    self.said.push(format!("again {}", self.shuffle_name(shuffle)));
                }
                if let Fact::Extended { shuffle, locations } = &record.fact {
                    self.extended.extend(locations.iter().map(|at| (*shuffle, at.clone())));
                }
                if let Fact::Finished { state, failure } = &record.fact {
                    let line = format!(
                        "{} {}{}",
                        self.job_name(*job),
                        state_word(*state),
                        self.why(failure.as_ref())
                    );
                    self.said.push(line);
                }
            }
            Effect::PrepareScript { job, .. } => {
                let statements =
                    self.plans[job].iter().map(|text| StatementText { sql: text.as_str().into() });
                let outcome = Ok(statements.collect());
                self.answers.push_back(Event::ScriptPrepared { job: *job, outcome });
            }
            Effect::PlanStatement { job, statement, first_stage, .. } => {
                self.plan(*job, *statement, *first_stage)
            }
            Effect::ReserveShuffle { shuffle, partitions } => {
                let outcome = match self.faults.remove("reserve") || self.refusing {
                    true => Err(JobFailure::new(FailureClass::Infrastructure, "no worker has room", None)),
                    false => Ok(Arc::new(target(*shuffle, *partitions))),
                };
                self.said.push(format!("reserve {}", self.shuffle_name(*shuffle)));
                self.answers.push_back(Event::ShuffleReserved { shuffle: *shuffle, outcome });
            }
            Effect::ExtendShuffle { shuffle, wanted, suspects } => {
                let outcome = match self.faults.remove("extend") {
                    true => Err(JobFailure::new(FailureClass::Infrastructure, "no worker has room", None)),
                    false => {
                        Ok(wanted.iter().map(|(partition, epoch)| location(*partition, *epoch)).collect())
                    }
                };
                let epochs: Vec<_> = wanted.iter().map(|(p, epoch)| format!("{p}.{epoch}")).collect();
                let suspected: String = suspects.iter().map(|worker| format!(" not on {worker}")).collect();
                let (name, epochs) = (self.shuffle_name(*shuffle), epochs.join(" "));
                self.said.push(format!("extend {name} by {epochs}{suspected}"));
                self.answers.push_back(Event::ShuffleExtended {
                    shuffle: *shuffle,
                    wanted: wanted.clone(),
                    outcome,
                });
            }
            Effect::AnswerEpochs { executor, outcome, .. } => {
                let heard = match outcome {
                    Ok(target) => {
                        assert!(
                            target
                                .locations
                                .iter()
                                .all(|at| self.extended.contains(&(target.shuffle, at.clone()))),
                            "epochs are journaled before anybody hears of them"
                        );
                        let epochs =
                            target.locations.iter().map(|at| format!("{}.{}", at.partition, at.epoch));
                        format!("hears of {}", epochs.collect::<Vec<_>>().join(" "))
                    }
                    Err(reason) => format!("hears that {}", self.readable(reason)),
                };
                self.said.push(format!("{executor} {heard}"));
            }
            Effect::CloseEpochs { target } => {
                let epochs = target.locations.iter().map(|at| format!("{}.{}", at.partition, at.epoch));
                let epochs = epochs.collect::<Vec<_>>().join(" ");
                self.said.push(format!("close {epochs} of {}", self.shuffle_name(target.shuffle)));
            }
            Effect::CommitShuffle { target, .. } => {
                let outcome = match self.faults.remove("commit") {
                    true => Err(JobFailure::new(FailureClass::Infrastructure, "the master is silent", None)),
                    false => Ok(self.verdicts(target)),
                };
                let more = match target.locations.len() {
                    1 => String::new(),
                    locations => format!(" with {locations} locations"),
                };
                self.said.push(format!("commit {}{more}", self.shuffle_name(target.shuffle)));
                self.answers.push_back(Event::ShuffleCommitted { shuffle: target.shuffle, outcome });
            }
            Effect::ReleaseShuffles { shuffles, .. } => {
                let line =
                    shuffles.iter().map(|shuffle| self.shuffle_name(*shuffle)).collect::<Vec<_>>().join(" ");
                self.said.push(format!("release {line}"));
            }
            Effect::ReleaseJob { job } => self.said.push(format!("release all of {}", self.job_name(*job))),
            Effect::Dispatch(dispatch) => self.dispatched(dispatch),
            Effect::CancelAttempt { executor, attempt, .. } => {
                self.said.push(format!("stop {} on {executor}", self.attempt_name(*attempt)));
            }
            Effect::DisconnectExecutor { executor, .. } => self.said.push(format!("disconnect {executor}")),
            Effect::KeepResult { job, statement, result, .. } => {
                let line = format!("result {}.{statement} of {} rows", self.job_name(*job), result.rows);
                self.said.push(line);
            }
            Effect::PublishSink { job, statement, files } => {
                let target = "t".to_owned();
                let outputs = Outputs { target, files: files.len() as u64, rows: 0, bytes: 0 };
                let outcome = self.outcome("publish").map(|()| outputs);
                self.said.push(format!(
                    "publish {} files of {}.{statement}",
                    files.len(),
                    self.job_name(*job)
                ));
                self.answers.push_back(Event::SinkPublished { job: *job, statement: *statement, outcome });
            }
            Effect::DiscardSink { job, statement } => {
                self.said.push(format!("discard {}.{statement}", self.job_name(*job)));
            }
            Effect::ApplyCatalog { job, statement } => {
                let outcome = self.outcome("catalog");
                self.said.push(format!("apply catalog {}.{statement}", self.job_name(*job)));
                self.answers.push_back(Event::CatalogApplied { job: *job, statement: *statement, outcome });
            }
            Effect::Sample { job, event: LogEvent::ExecutorSampled { executor, cpu_used, .. }, .. } => {
                self.said.push(format!("{}: {executor} used {cpu_used} cores", self.job_name(*job)));
            }
            Effect::Sample { event, .. } => panic!("{event:?} is no sample"),
            Effect::SignOfLife { job, .. } => self.said.push(format!("{} lives", self.job_name(*job))),
            Effect::Forget { job } => self.said.push(format!("forget {}", self.job_name(*job))),
            Effect::InsertJob(_)
            | Effect::UpdateJob(_)
            | Effect::AnswerCancel { .. }
            | Effect::PublishStatus(_)
            | Effect::ForgetJob { .. }
            | Effect::ReportTaken { .. }
            | Effect::Log { .. } => {}
        }
    }

    fn say_answer(&mut self, answer: &Result<crate::effect::Accepted, crate::effect::SubmitError>) {
        match answer {
            Ok(accepted) if accepted.reattached => {
                self.said.push(format!("it is {} try {}", self.job_name(accepted.job), accepted.try_number));
            }
            Ok(accepted) if accepted.try_number > 1 => self.said.push(format!("try {}", accepted.try_number)),
            Ok(_) => {}
            Err(error) => {
                let line = self.readable(&error.to_string());
                self.said.push(line);
            }
        }
    }

    fn outcome(&mut self, what: &str) -> Result<(), JobFailure> {
        match self.faults.remove(what) {
            true => Err(JobFailure::new(FailureClass::Infrastructure, format!("{what} went wrong"), None)),
            false => Ok(()),
        }
    }

    fn dispatched(&mut self, dispatch: &Dispatch) {
        let Dispatch { executor, incarnation, attempt, .. } = dispatch;
        assert!(self.journaled.contains(attempt), "{attempt} is journaled before it is told");
        let host = Host { executor: executor.clone(), incarnation: *incarnation };
        assert!(self.attempts.insert(*attempt, host).is_none(), "{attempt} is dispatched once");
        self.newest.insert(attempt.task, *attempt);
        let target = match &dispatch.target {
            AttemptTarget::Shuffle(target) | AttemptTarget::Result(target) => Some(target.shuffle),
            AttemptTarget::Files => None,
        };
        let shuffles = dispatch.inputs.iter().map(|input| input.shuffle).chain(target).collect();
        self.shuffles.insert(*attempt, shuffles);
        self.said.push(format!("run {} on {executor}", self.attempt_name(*attempt)));
    }

    fn plan(&mut self, job: JobId, statement: StatementIndex, first: StageId) {
        let text = self.plans[&job][statement.0 as usize].clone();
        let outcome = self.outcome("plan").map(|()| {
            let work = self.work(job, &text, first);
            let log = Box::new(StatementPlanned {
                statement,
                sql: text,
                kind: String::new(),
                logical_plan: String::new(),
                physical_plan: String::new(),
                stages: Vec::new(),
            });
            StatementPlan { work, log }
        });
        self.answers.push_back(Event::StatementPlanned { job, statement, outcome });
    }

    fn work(&mut self, job: JobId, text: &str, first: StageId) -> StatementWork {
        let work = plan::work(text, first);
        if let StatementWork::Query { stages } | StatementWork::Sink { stages, .. } = &work {
            for spec in stages {
                self.stage_names.insert((job, spec.stage), spec.name.clone());
                self.outputs.insert((job, spec.stage), spec.output);
            }
        }
        work
    }

    fn verdicts(&mut self, target: &ShuffleTarget) -> Vec<(Location, CommitVerdict)> {
        let failed = self.faults.remove("verdict");
        let verdict = |_: &Location| match failed {
            true => CommitVerdict::Failed { reason: "disk error".to_owned() },
            false => CommitVerdict::Committed { stored_bytes: 128 },
        };
        target
            .locations
            .iter()
            .flat_map(Location::copies)
            .map(|copy| (copy.clone(), verdict(&copy)))
            .collect()
    }

    pub fn job_name(&self, job: JobId) -> String {
        self.jobs.iter().find(|(_, id)| **id == job).map_or_else(|| job.to_string(), |(name, _)| name.clone())
    }
}

fn location(partition: PartitionIndex, epoch: Epoch) -> Location {
    let worker = Arc::new(WorkerAddress {
        worker: WorkerId::from("w1"),
        incarnation: Incarnation(1),
        control: String::new(),
        data: String::new(),
    });
    Location::on(partition, epoch, worker)
}

fn target(shuffle: ShuffleId, partitions: u32) -> ShuffleTarget {
    let location = |partition| location(PartitionIndex(partition), Epoch(0));
    ShuffleTarget { shuffle, locations: (0..partitions).map(location).collect() }
}

fn state_word(state: penstock_protocol::event::JobState) -> String {
    format!("{state:?}").to_lowercase()
}
