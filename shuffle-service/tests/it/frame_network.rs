//! A network on which frames of the data plane suffer: they are lost, late, come twice, or are the last of their connection.
//!
//! What becomes of a frame follows from the seed and from which one it is: by its connection's purpose, worker and number, its
//! way and its place there. TCP loses nothing in the middle: a frame that is lost is one before which the connection ends.
//! Calls between services pass untouched.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use penstock_common::{
    lifecycle::{OnFailure, Tasks},
    net::{Listener, Network, Stream, Tcp},
};
use penstock_protocol::frame::{
    FRAME_BYTES_MAX, FRAME_HEAD_BYTES, Frame, FrameHead, Hello, Purpose, read_frame,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};

const PIPE_BYTES: usize = 64 << 10;
/// Every second connection for a purpose to a worker lets so many frames through, each way, before anything goes wrong:
/// whoever tries as often as clients do gets on.
const SPARED_OF: u64 = 2;
const SPARED_FRAMES: u64 = 30;
const LATE_MS_MAX: u64 = 4;
/// How long the other end gets to take the last frame before the connection goes.
const LAST_FRAME: Duration = Duration::from_secs(1);

/// From the side that opened the connection, or to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    Out,
    Back,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    Lost,
    Late,
    Twice,
    /// It arrives, and nothing after it.
    CutAfter,
    /// Half of it arrives, and nothing after that.
    CutInside,
}

impl Fault {
    pub const ALL: [Self; 5] = [Self::Lost, Self::Late, Self::Twice, Self::CutAfter, Self::CutInside];

    /// Of 1000 frames. Answers are fewer than what they answer.
    fn odds(self, way: Way) -> u64 {
        let odds = match self {
            Self::Late => 40,
            Self::Twice => 30,
            Self::Lost | Self::CutAfter | Self::CutInside => 18,
        };
        if way == Way::Back { 2 * odds } else { odds }
    }
}

/// What went wrong how often, by the connection's purpose.
pub type Counts = BTreeMap<(String, Way, Fault), u64>;

/// What connections are for, and to whom.
type Route = (Purpose, String);

#[derive(Debug, Clone)]
pub struct FaultyFrames(Arc<Weather>);

#[derive(Debug)]
struct Weather {
    seed: u64,
    tasks: Tasks,
    /// How many there were, in the order in which the workers were met.
    connections: Mutex<Vec<(Route, u64)>>,
    counts: Mutex<Counts>,
}

impl FaultyFrames {
    pub fn new(seed: u64) -> Self {
        let (connections, counts) = Default::default();
        Self(Arc::new(Weather { seed, tasks: Tasks::new("frames"), connections, counts }))
    }

    pub fn counts(&self) -> Counts {
        self.0.counts.lock().unwrap().clone()
    }
}

#[async_trait::async_trait]
impl Network for FaultyFrames {
    async fn connect(&self, addr: &str) -> io::Result<Stream> {
        let remote = Tcp.connect(addr).await?;
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        let (weather, to) = (Arc::clone(&self.0), addr.to_owned());
        self.0.tasks.spawn("wire", OnFailure::Log, async move {
            // However it ends, both ends notice.
            let _ = carry(weather, to, theirs, remote).await;
            Ok::<_, Infallible>(())
        });
        Ok(Box::new(ours))
    }

    async fn bind(&self, addr: &str) -> io::Result<Box<dyn Listener>> {
        Tcp.bind(addr).await
    }
}

/// How one direction ended.
enum Ended {
    /// Nothing more comes this way; the other may go on.
    Quiet,
    Cut,
    /// What was written last is to arrive, and nothing after it in either direction.
    CutAfter,
}

async fn carry(
    weather: Arc<Weather>,
    to: String,
    mut local: DuplexStream,
    mut remote: Stream,
) -> io::Result<()> {
    let mut head = [0; FRAME_HEAD_BYTES];
    local.read_exact(&mut head).await?;
    let Ok(parsed) = FrameHead::parse(head, FRAME_BYTES_MAX) else {
        remote.write_all(&head).await?;
        return tokio::io::copy_bidirectional(&mut local, &mut remote).await.map(drop);
    };
    let mut body = vec![0; parsed.body_bytes];
    local.read_exact(&mut body).await?;
    let hello = Frame { kind: parsed.kind, body: body.into() };
    let purpose = Hello::parse(hello.body.clone()).expect("the first frame is a hello").purpose;
    let wire = Wire::new(weather, (purpose, to));
    let (mut from_local, mut to_local) = tokio::io::split(local);
    let (mut from_remote, mut to_remote) = tokio::io::split(remote);
    let ended = {
        let out = wire.way(Way::Out, Some(hello), &mut from_local, &mut to_remote);
        let back = wire.way(Way::Back, None, &mut from_remote, &mut to_local);
        tokio::pin!(out, back);
        tokio::select! {
            ended = &mut out => if matches!(ended, Ended::Quiet) { back.await } else { ended },
            ended = &mut back => if matches!(ended, Ended::Quiet) { out.await } else { ended },
        }
    };
    drop((from_local, to_local));
    if matches!(ended, Ended::CutAfter) {
        to_remote.shutdown().await?;
        let mut nowhere = tokio::io::sink();
        let drained = tokio::io::copy(&mut from_remote, &mut nowhere);
        tokio::time::timeout(LAST_FRAME, drained).await??;
    }
    Ok(())
}

struct Wire {
    weather: Arc<Weather>,
    purpose: Purpose,
    /// Which route it is.
    route: usize,
    number: u64,
}

impl Wire {
    fn new(weather: Arc<Weather>, route: Route) -> Self {
        let purpose = route.0;
        let mut connections = weather.connections.lock().unwrap();
        let known = connections.iter().position(|(known, _)| *known == route);
        let index = known.unwrap_or_else(|| {
            connections.push((route, 0));
            connections.len() - 1
        });
        let number = connections[index].1;
        connections[index].1 += 1;
        drop(connections);
        Self { weather, purpose, route: index, number }
    }

    async fn way(
        &self,
        way: Way,
        first: Option<Frame>,
        reader: &mut (impl AsyncRead + Unpin),
        writer: &mut (impl AsyncWrite + Unpin),
    ) -> Ended {
        let mut next = first;
        for place in 0.. {
            let frame = match next.take() {
                Some(frame) => frame,
                None => match read_frame(reader, FRAME_BYTES_MAX).await {
                    Ok(Some(frame)) => frame,
                    // The other end may still be reading.
                    _ => return writer.shutdown().await.map_or(Ended::Cut, |()| Ended::Quiet),
                },
            };
            let head = FrameHead { kind: frame.kind, body_bytes: frame.body.len() }.encode();
            let mut bytes = [&head[..], &frame.body].concat();
            let fault = self.fault(way, place);
            match fault {
                Some(Fault::Lost) => return Ended::Cut,
                Some(Fault::Late) => tokio::time::sleep(self.delay(way, place)).await,
                Some(Fault::Twice) => bytes.extend_from_within(..),
                Some(Fault::CutInside) => bytes.truncate(bytes.len() / 2),
                Some(Fault::CutAfter) | None => {}
            }
            if writer.write_all(&bytes).await.is_err() || writer.flush().await.is_err() {
                return Ended::Cut;
            }
            if matches!(fault, Some(Fault::CutAfter | Fault::CutInside)) {
                return if way == Way::Out { Ended::CutAfter } else { Ended::Cut };
            }
        }
        unreachable!("frames are counted for ever")
    }

    fn fault(&self, way: Way, place: u64) -> Option<Fault> {
        if self.number % SPARED_OF == SPARED_OF - 1 && place < SPARED_FRAMES {
            return None;
        }
        let mut drawn = self.random(way, place, "fault") % 1000;
        let fault = Fault::ALL.into_iter().find(|fault| {
            let hit = drawn < fault.odds(way);
            drawn = drawn.saturating_sub(fault.odds(way));
            hit
        })?;
        let kind = (format!("{:?}", self.purpose), way, fault);
        *self.weather.counts.lock().unwrap().entry(kind).or_default() += 1;
        Some(fault)
    }

    fn delay(&self, way: Way, place: u64) -> Duration {
        Duration::from_millis(1 + self.random(way, place, "delay") % LATE_MS_MAX)
    }

    /// The same for the same frame, whatever came in between on other connections.
    fn random(&self, way: Way, place: u64, what: &str) -> u64 {
        let Self { weather, purpose, route, number } = self;
        let name = format!("{} {purpose:?} {route} {number} {way:?} {place} {what}", weather.seed);
        // FNV-1a, and the finaliser of SplitMix64.
        let fnv = name.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
        });
        let mixed = (fnv ^ (fnv >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}
