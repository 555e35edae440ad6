//! A worker's object store: in memory, outlives its worker, takes time, and fails when told to: as a whole, or in single calls.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use opendal::{
    Buffer, BytesRange, Capability, Error, ErrorKind, Metadata, OperationContext, Operator, Result,
    raw::{
        Layer, OpCopier, OpCopy, OpCreateDir, OpDelete, OpList, OpPresign, OpRead, OpRename, OpStat, OpWrite,
        RpCreateDir, RpPresign, RpRead, RpRename, RpStat, Service, ServiceInfo, Servicer, oio,
    },
    services::Memory,
};

use crate::{faults::Kind, random::Dice, record::Record, topology::Host};

/// Calls of 10 000 that go wrong while the store is sick.
const ODDS: [u64; 2] = [1_000, 5_000];

const TROUBLES: [Kind; 3] = [Kind::ObjectCallFailed, Kind::ObjectAnswerLost, Kind::ObjectCallHung];

#[derive(Debug)]
pub struct SimObjects {
    kept: Operator,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    host: Host,
    record: Arc<Record>,
    dice: Dice,
    is_away: AtomicBool,
    /// Calls of 10 000 that go wrong.
    sickness: AtomicU64,
}

impl SimObjects {
    pub fn new(seed: u64, host: Host, record: Arc<Record>) -> Result<Self> {
        let dice = Dice::new(seed, &format!("objects of {host}"));
        let (is_away, sickness) = (AtomicBool::new(false), AtomicU64::new(0));
        let state = Arc::new(State { host, record, dice, is_away, sickness });
        Ok(Self { kept: Operator::new(Memory::default())?, state })
    }

    /// As its worker sees it.
    pub fn operator(&self) -> Operator {
        self.kept.clone().layer(Moody(Arc::clone(&self.state)))
    }

    /// Everything that is asked of it fails.
    pub fn go_away(&self) {
        self.state.is_away.store(true, Ordering::Relaxed);
    }

    /// Now and then a call goes wrong in some way.
    pub fn sicken(&self) {
        self.state.sickness.store(*self.state.dice.pick(&ODDS), Ordering::Relaxed);
    }

    pub fn mend(&self) {
        self.state.is_away.store(false, Ordering::Relaxed);
        self.state.sickness.store(0, Ordering::Relaxed);
    }

    pub async fn names(&self) -> Result<Vec<String>> {
        let entries = self.kept.list_with("/").recursive(true).await?;
        let objects = entries.into_iter().filter(|entry| entry.metadata().is_file());
        Ok(objects.map(|entry| entry.path().to_owned()).collect())
    }
}

impl State {
    /// Carries out a call, which takes time and may go wrong.
    async fn call<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::time::sleep(Duration::from_millis(self.dice.roll(12))).await;
        if self.is_away.load(Ordering::Relaxed) {
            return Err(unavailable("the store is away"));
        }
        match self.trouble() {
            Some(Kind::ObjectCallHung) => std::future::pending().await,
            Some(Kind::ObjectAnswerLost) => {
                call.await?;
                Err(unavailable("the answer was lost"))
            }
            Some(_) => Err(unavailable("the call failed")),
            None => call.await,
        }
    }

    fn trouble(&self) -> Option<Kind> {
        let odds = self.sickness.load(Ordering::Relaxed);
        if odds == 0 || self.dice.roll(10_000) >= odds {
            return None;
        }
        let kind = *self.dice.pick(&TROUBLES);
        self.record.fault(kind, [&self.host], format_args!("{}", self.host));
        Some(kind)
    }
}

fn unavailable(why: &'static str) -> Error {
    Error::new(ErrorKind::Unexpected, why).set_temporary()
}

/// Makes a store behave as its state says.
#[derive(Debug)]
struct Moody(Arc<State>);

impl Layer for Moody {
    fn apply_service(&self, inner: Servicer) -> Servicer {
        Arc::new(MoodyService { inner, state: Arc::clone(&self.0) })
    }
}

#[derive(Debug)]
struct MoodyService {
    inner: Servicer,
    state: Arc<State>,
}

/// What works on one object or one folder.
struct MoodyCalls<T> {
    inner: T,
    state: Arc<State>,
}

impl MoodyService {
    fn moody<T>(&self, inner: T) -> MoodyCalls<T> {
        MoodyCalls { inner, state: Arc::clone(&self.state) }
    }
}

impl Service for MoodyService {
    type Reader = MoodyCalls<oio::Reader>;
    type Writer = MoodyCalls<oio::Writer>;
    type Lister = MoodyCalls<oio::Lister>;
    type Deleter = MoodyCalls<oio::Deleter>;
    type Copier = oio::Copier;

    fn info(&self) -> ServiceInfo {
        self.inner.info()
    }

    fn capability(&self) -> Capability {
        self.inner.capability()
    }

    async fn create_dir(
        &self,
        context: &OperationContext,
        path: &str,
        args: OpCreateDir,
    ) -> Result<RpCreateDir> {
        self.state.call(self.inner.create_dir(context, path, args)).await
    }

    async fn stat(&self, context: &OperationContext, path: &str, args: OpStat) -> Result<RpStat> {
        self.state.call(self.inner.stat(context, path, args)).await
    }

    fn read(&self, context: &OperationContext, path: &str, args: OpRead) -> Result<Self::Reader> {
        Ok(self.moody(self.inner.read(context, path, args)?))
    }

    fn write(&self, context: &OperationContext, path: &str, args: OpWrite) -> Result<Self::Writer> {
        Ok(self.moody(self.inner.write(context, path, args)?))
    }

    fn delete(&self, context: &OperationContext) -> Result<Self::Deleter> {
        Ok(self.moody(self.inner.delete(context)?))
    }

    fn list(&self, context: &OperationContext, path: &str, args: OpList) -> Result<Self::Lister> {
        Ok(self.moody(self.inner.list(context, path, args)?))
    }

    fn copy(
        &self,
        context: &OperationContext,
        from: &str,
        to: &str,
        args: OpCopy,
        options: OpCopier,
    ) -> Result<Self::Copier> {
        self.inner.copy(context, from, to, args, options)
    }

    async fn rename(
        &self,
        context: &OperationContext,
        from: &str,
        to: &str,
        args: OpRename,
    ) -> Result<RpRename> {
        self.state.call(self.inner.rename(context, from, to, args)).await
    }

    async fn presign(&self, context: &OperationContext, path: &str, args: OpPresign) -> Result<RpPresign> {
        self.state.call(self.inner.presign(context, path, args)).await
    }
}

impl<T: oio::Read> oio::Read for MoodyCalls<T> {
    async fn open(&self, range: BytesRange) -> Result<(RpRead, Box<dyn oio::ReadStreamDyn>)> {
        self.state.call(self.inner.open(range)).await
    }

    async fn read(&self, range: BytesRange) -> Result<(RpRead, Buffer)> {
        self.state.call(self.inner.read(range)).await
    }
}

impl<T: oio::Write> oio::Write for MoodyCalls<T> {
    async fn write(&mut self, bytes: Buffer) -> Result<()> {
        self.state.call(self.inner.write(bytes)).await
    }

    async fn close(&mut self) -> Result<Metadata> {
        self.state.call(self.inner.close()).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.state.call(self.inner.abort()).await
    }
}

impl<T: oio::List> oio::List for MoodyCalls<T> {
    async fn next(&mut self) -> Result<Option<oio::Entry>> {
        // An entry whose answer is lost is asked for again, so the lister must not have gone on.
        self.state.call(async { Ok(()) }).await?;
        self.inner.next().await
    }
}

impl<T: oio::Delete> oio::Delete for MoodyCalls<T> {
    async fn delete(&mut self, path: &str, args: OpDelete) -> Result<()> {
        self.state.call(self.inner.delete(path, args)).await
    }

    async fn close(&mut self) -> Result<()> {
        self.state.call(self.inner.close()).await
    }
}

impl<T> fmt::Debug for MoodyCalls<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MoodyCalls").field("state", &self.state).finish_non_exhaustive()
    }
}
