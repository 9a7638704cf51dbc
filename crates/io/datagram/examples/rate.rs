//! How many datagrams a second one core seals, opens, and refuses: `cargo run --release -p acp-io-datagram --example rate`.

use std::{
    error::Error,
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use acp_base::{BootInstant, Uid};
use acp_io_datagram::{
    Arrival, Channel, GroupKey, Identity, KeyRing, Opener, Path, Refusal, Sealer, limits::MTU_BYTES,
};

/// How long each figure is measured.
const PERIOD: Duration = Duration::from_secs(1);
/// Datagrams made at a time, outside of the measured part.
const ROUND: usize = 10_000;
/// Nodes that send in turn.
const SENDERS: u128 = 1_000;
const FROM: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

type Outcome<T> = Result<T, Box<dyn Error>>;

struct Bench {
    ring: KeyRing,
    sealers: Vec<Sealer>,
    opener: Opener,
}

impl Bench {
    fn new() -> Outcome<Self> {
        let ring = KeyRing::new(GroupKey::generate(1)?);
        let identity = |node| Identity { cluster: Uid::from_u128(1), node: Uid::from_u128(node) };
        let sealers: Result<_, _> = (1..=SENDERS).map(|node| Sealer::new(identity(node), 1, &ring)).collect();
        Ok(Self { sealers: sealers?, opener: Opener::new(identity(0), ring.clone()), ring })
    }

    /// Datagrams of all senders in turn, and how long sealing took.
    fn seal(&mut self, bytes: usize) -> Outcome<(Vec<Vec<u8>>, Duration)> {
        let payload = vec![7; bytes];
        let mut datagrams: Vec<_> = (0..ROUND).map(|_| Vec::with_capacity(MTU_BYTES)).collect();
        let senders = self.sealers.len();
        let started = Instant::now();
        for (number, datagram) in datagrams.iter_mut().enumerate() {
            self.sealers[number % senders].seal(Path::Multicast, Channel::Sync, &payload, datagram)?;
        }
        Ok((datagrams, started.elapsed()))
    }

    /// How long it takes until all of these are opened, or refused for this reason.
    fn open(&mut self, datagrams: &mut [Vec<u8>], expected: Option<Refusal>) -> Outcome<Duration> {
        let started = Instant::now();
        for bytes in datagrams {
            let arrival = Arrival { bytes, from: FROM, path: Path::Multicast };
            let refused = self.opener.open(BootInstant::from_millis(1), arrival).err();
            if refused != expected {
                return Err(format!("{refused:?} where {expected:?} was expected").into());
            }
        }
        Ok(started.elapsed())
    }

    /// Repeats a round for a while; answers rounds' items a second.
    fn rate(&mut self, round: impl Fn(&mut Self) -> Outcome<Duration>) -> Outcome<f64> {
        let (started, mut items, mut spent) = (Instant::now(), 0_u32, Duration::ZERO);
        while started.elapsed() < PERIOD {
            spent += round(self)?;
            items += u32::try_from(ROUND)?;
        }
        Ok(f64::from(items) / spent.as_secs_f64())
    }
}

fn main() -> Outcome<()> {
    for bytes in [64, 1_330] {
        let mut bench = Bench::new()?;
        let sealed = bench.rate(|bench| Ok(bench.seal(bytes)?.1))?;
        let opened = bench.rate(|bench| {
            let (mut datagrams, _) = bench.seal(bytes)?;
            bench.open(&mut datagrams, None)
        })?;
        let replayed = bench.rate(|bench| {
            let (mut datagrams, _) = bench.seal(bytes)?;
            bench.open(&mut datagrams.clone(), None)?;
            bench.open(&mut datagrams, Some(Refusal::Replayed))
        })?;
        // Of senders that nobody knows: each costs a key.
        let forged = bench.rate(|bench| {
            bench.opener =
                Opener::new(Identity { cluster: Uid::from_u128(1), node: Uid::from_u128(0) }, bench.ring.clone());
            let (mut datagrams, _) = bench.seal(bytes)?;
            datagrams.iter_mut().for_each(|datagram| datagram[60] ^= 1);
            bench.open(&mut datagrams, Some(Refusal::Forged))
        })?;
        eprintln!(
            "{bytes} bytes: sealed {sealed:.0}/s, opened {opened:.0}/s, refused replayed {replayed:.0}/s, forged {forged:.0}/s"
        );
    }
    Ok(())
}
