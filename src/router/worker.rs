//! A thread that serves connections: each keeps its clients, its connections to dynos and its event
//! loop to itself, so that a request never changes threads.

use std::io;
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

use super::client::Client;
use super::pool::{Pools, SWEEP};
use super::{GRACE, Router, converse};

/// What the requests of one thread share.
pub(super) struct Worker {
    pub router: Arc<Router>,
    pub pools: Pools,
    /// Connections that it serves.
    load: Arc<AtomicUsize>,
}

/// A connection for a worker.
pub(super) struct Arrival {
    pub stream: StdTcpStream,
    pub from: SocketAddr,
    /// Our own.
    pub port: u16,
    pub is_tls: bool,
    pub place: OwnedSemaphorePermit,
}

/// The worker threads.
pub(super) struct Workers {
    all: Vec<Handle>,
    stop: watch::Sender<()>,
}

struct Handle {
    load: Arc<AtomicUsize>,
    arrivals: mpsc::UnboundedSender<Arrival>,
    thread: thread::JoinHandle<()>,
}

impl Workers {
    /// Starts a thread for each processor.
    pub fn start(router: &Arc<Router>) -> Result<Self> {
        let count = thread::available_parallelism().map_or(1, usize::from);
        let stop = watch::Sender::new(());
        let start = |number: usize| -> Result<Handle> {
            let (arrivals, mut arriving) = mpsc::unbounded_channel();
            let load = Arc::new(AtomicUsize::new(0));
            let worker = Arc::new(Worker {
                router: router.clone(),
                pools: Pools::default(),
                load: load.clone(),
            });
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context("starting the router")?;
            let told = stop.subscribe();
            let work = async move {
                let alive = watch::Sender::new(());
                tokio::spawn(sweep(worker.clone()));
                while let Some(arrival) = arriving.recv().await {
                    if let Err(error) = worker.welcome(arrival, &told, &alive) {
                        tracing::warn!(%error, "a connection could not be served");
                    }
                }
                // What is still under way then is cut.
                let _ = tokio::time::timeout(GRACE, alive.closed()).await;
            };
            let thread = thread::Builder::new()
                .name(format!("router-{number}"))
                .spawn(move || runtime.block_on(work))
                .context("starting the router")?;
            Ok(Handle {
                load,
                arrivals,
                thread,
            })
        };
        let all = (0..count).map(start).collect::<Result<_>>()?;
        Ok(Self { all, stop })
    }

    /// Gives a connection to the thread with the fewest.
    pub fn give(&self, arrival: Arrival) {
        let least = self
            .all
            .iter()
            .min_by_key(|one| one.load.load(Ordering::Relaxed));
        if let Some(least) = least {
            least.load.fetch_add(1, Ordering::Relaxed);
            // A thread that has ended takes none: the connection is closed.
            let _ = least.arrivals.send(arrival);
        }
    }

    /// Ends the threads; blocks while requests are under way, for some time.
    pub fn stop(self) {
        self.stop.send_replace(());
        for handle in self.all {
            drop(handle.arrivals);
            // One that has panicked has ended as well.
            let _ = handle.thread.join();
        }
    }
}

impl Worker {
    fn welcome(
        self: &Arc<Self>,
        arrival: Arrival,
        stop: &watch::Receiver<()>,
        alive: &watch::Sender<()>,
    ) -> io::Result<()> {
        let load = Load(self.load.clone());
        let stream = TcpStream::from_std(arrival.stream)?;
        // Small answers should not wait for acknowledgements.
        let _ = stream.set_nodelay(true);
        let address = arrival.from.ip().to_canonical();
        let client = Client::new(address, arrival.port, arrival.is_tls, arrival.place);
        let (worker, stop, alive) = (self.clone(), stop.clone(), alive.subscribe());
        tokio::spawn(async move {
            converse::converse(worker, stream, Arc::new(client), stop).await;
            drop((load, alive));
        });
        Ok(())
    }
}

/// A connection that counts until it ends.
struct Load(Arc<AtomicUsize>);

impl Drop for Load {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn sweep(worker: Arc<Worker>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        worker.pools.sweep();
    }
}
