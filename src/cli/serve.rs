//! `slugline serve`: the server, on an embedded default.

use std::fs;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::FormatTime;

use super::environment::{self, Environment};
use super::{machine, print};
use crate::drain;
use crate::failure::explain;
use crate::http::tls::Certificate;
use crate::http::{Limits, Server, serve};
use crate::platform::data::{ADMIN_TOKEN, DataDir, RUNTIMES};
use crate::platform::image::StackLayer;
use crate::platform::running::Web;
use crate::platform::settings::{LogFormat, PublicUrl, RouterSettings, Settings};
use crate::platform::token::Secret;
use crate::platform::{Options, Platform, clock};
use crate::receive;
use crate::router::{self, Certificates, Limits as RouterLimits, Router};
use crate::sandbox::own_mounts;
use crate::store::Bucket;

/// Runs the server until it is stopped.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Keep everything in this directory.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Listen here, for git and the API.
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
    /// Trust a proxy with TLS in front: listen beyond this machine, and take clients' addresses
    /// from X-Forwarded-For.
    #[arg(long)]
    pub behind_proxy: bool,
    /// Speak TLS, with the certificate chain of this PEM file.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's key, a PEM file.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Begin links with this, where clients reach the server by another name.
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// Let apps answer here.
    #[arg(long, value_name = "ADDR:PORT")]
    pub router_listen: Option<SocketAddr>,
    /// Let apps answer over TLS here, with the certificates of --router-certificates.
    #[arg(long, value_name = "ADDR:PORT")]
    pub router_tls_listen: Option<SocketAddr>,
    /// A directory of NAME.pem with NAME.key, chosen by the name that a client asks for.
    #[arg(long, value_name = "DIR")]
    pub router_certificates: Option<PathBuf>,
    /// Give the router's numbers to Prometheus here, at /metrics; on this machine alone.
    #[arg(long, value_name = "ADDR:PORT")]
    pub metrics: Option<SocketAddr>,
    /// Run so many builds at once; more wait.
    #[arg(long, value_name = "N")]
    pub max_builds: Option<usize>,
    /// Let the first push to an unknown name make the app.
    #[arg(long)]
    pub create_on_push: bool,
    /// Serve releases as images over this layer, a tar or gzip of one
    #[arg(long, value_name = "FILE")]
    pub stack_layer: Option<PathBuf>,
    /// How the server's own log is written.
    #[arg(long, value_name = "human|json")]
    pub log_format: Option<String>,
}

impl Args {
    fn settings(&self) -> impl Iterator<Item = (&'static str, String)> {
        let path = |path: &Option<PathBuf>| Some(path.as_ref()?.display().to_string());
        [
            ("listen", self.listen.map(|address| address.to_string())),
            ("behind_proxy", self.behind_proxy.then(|| "true".to_owned())),
            ("stack_layer", path(&self.stack_layer)),
            ("tls_cert", path(&self.tls_cert)),
            ("tls_key", path(&self.tls_key)),
            ("public_url", self.public_url.clone()),
            (
                "router_listen",
                self.router_listen.map(|address| address.to_string()),
            ),
            (
                "router_tls_listen",
                self.router_tls_listen.map(|address| address.to_string()),
            ),
            ("router_certificates", path(&self.router_certificates)),
            ("metrics", self.metrics.map(|address| address.to_string())),
            ("max_builds", self.max_builds.map(|n| n.to_string())),
            (
                "create_on_push",
                self.create_on_push.then(|| "true".to_owned()),
            ),
            ("log_format", self.log_format.clone()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }
}

/// Runs the command.
///
/// # Errors
/// The data directory or the port is in use, the settings are wrong, or builds cannot run here.
pub fn run(args: &Args) -> Result<ExitCode> {
    own_mounts();
    let environment = Environment::read();
    let path = args
        .data
        .as_deref()
        .map_or_else(|| environment.data_dir(), Ok)?;
    let data = DataDir::open(path)?;
    let settings = machine::settings_of(data.path(), args.settings())?;
    settings.check_exposure()?;
    let certificate = match settings.tls() {
        Some((chain, key)) => Some(Arc::new(Certificate::open(chain, key)?)),
        None => None,
    };
    let stack_layer = match &settings.stack_layer {
        Some(path) => {
            let layer = StackLayer::open(path);
            Some(layer.with_context(|| path.display().to_string())?)
        }
        None => None,
    };
    start_log(settings.log_format);
    let machine = machine::machine(&settings, machine::Whose::Apps, &data.path().join(RUNTIMES))?;
    machine.sandbox.probe_for_builds(&data.scratch())?;
    machine.sandbox.prepare_disks(&data.scratch())?;
    let make = || {
        Secret::generate()
            .map(|secret| secret.expose().to_owned())
            .map_err(io::Error::other)
    };
    let admin = data.secret(ADMIN_TOKEN, make)?;
    let key = data.secret("signing-key", make)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let bucket = settings
        .bucket
        .as_ref()
        .map(|url| Bucket::new(url, environment::variables(), runtime.handle().clone()));
    let open_files = raise_open_files();
    let (web, sockets) = Sockets::bind(&settings)?;
    let dynos = machine::dynos(&settings)?;
    dynos.sandbox.require_network()?;
    let options = Options {
        dynos,
        web,
        bucket: bucket.transpose()?,
        machine,
        max_builds: settings.max_builds,
        create_on_push: settings.create_on_push,
        receive: receive::Limits {
            pack_bytes: settings.push_limit_bytes,
            ..receive::Limits::default()
        },
        signers: signers(&settings)?,
        git: environment::git()?,
        faults: environment::faults(),
        explain,
    };
    let platform = Arc::new(Platform::open(data, options)?);
    platform.ledger.adopt_token("admin", &admin)?;
    runtime.block_on(listen(
        &settings,
        sockets,
        open_files,
        certificate,
        stack_layer,
        platform,
        &key,
    ))?;
    // Threads that still stream to clients need not hold the exit up.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

/// The sockets that the server answers on.
struct Sockets {
    own: std::net::TcpListener,
    router: std::net::TcpListener,
    router_tls: Option<(std::net::TcpListener, Arc<Certificates>)>,
    metrics: Option<std::net::TcpListener>,
}

impl Sockets {
    fn bind(settings: &Settings) -> Result<(Web, Self)> {
        let bind = |address: SocketAddr| -> Result<std::net::TcpListener> {
            let listener = std::net::TcpListener::bind(address);
            let listener = listener.with_context(|| format!("listening on {address}"))?;
            listener
                .set_nonblocking(true)
                .context("preparing a socket")?;
            Ok(listener)
        };
        let own = bind(settings.listen)?;
        let router = bind(settings.router_address())?;
        let router_tls = match settings.router.tls() {
            Some((address, dir)) => Some((bind(address)?, Arc::new(Certificates::open(dir)?))),
            None => None,
        };
        let port = |listener: &std::net::TcpListener| -> Result<u16> {
            Ok(listener.local_addr().context("asking for the port")?.port())
        };
        // People are sent there only where their browser will take the certificate.
        let for_all = router_tls.as_ref();
        let for_all = for_all.filter(|(_, certificates)| certificates.cover(&settings.domain));
        let web = Web {
            domain: settings.domain.clone(),
            port: port(&router)?,
            tls_port: for_all.map(|(listener, _)| port(listener)).transpose()?,
            own_host: settings.public_url.as_ref().and_then(PublicUrl::host),
        };
        let metrics = settings.router.metrics.map(bind).transpose()?;
        let sockets = Self {
            own,
            router,
            router_tls,
            metrics,
        };
        Ok((web, sockets))
    }
}

/// Lets the server open as many files as the system allows it; gives their number.
fn raise_open_files() -> u64 {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Ok((now, most)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return 1024;
    };
    // The system may think better of it.
    match setrlimit(Resource::RLIMIT_NOFILE, most, most) {
        Ok(()) => most,
        Err(_) => now,
    }
}

/// Files that the server has open for other things than the router's connections.
const OTHER_FILES: u64 = 512;

fn router_limits(chosen: &RouterSettings, open_files: u64) -> RouterLimits {
    let defaults = RouterLimits::default();
    // A client's connection may need one to a dyno; who comes when there is no room waits.
    let room = open_files.saturating_sub(OTHER_FILES) / 2;
    let room = usize::try_from(room).unwrap_or(usize::MAX).max(64);
    RouterLimits {
        header_time: chosen.header_time,
        body_bytes: chosen.body_bytes,
        boot_time: chosen.boot_time,
        first_byte: chosen.first_byte,
        silence: chosen.silence,
        connections: defaults.connections.min(room),
        ..defaults
    }
}

/// Whose signed pushes are taken; none offers no signed pushes.
fn signers(settings: &Settings) -> Result<Option<receive::Signers>> {
    let there = |path: &Option<PathBuf>| -> Result<Option<PathBuf>> {
        let full =
            |path: &PathBuf| fs::canonicalize(path).with_context(|| path.display().to_string());
        path.as_ref().map(full).transpose()
    };
    let signers = receive::Signers {
        allowed: there(&settings.allowed_signers)?,
        gpg_home: there(&settings.gpg_home)?,
    };
    let offered = settings.signed_pushes || signers != receive::Signers::default();
    Ok(offered.then_some(signers))
}

async fn listen(
    settings: &Settings,
    sockets: Sockets,
    open_files: u64,
    certificate: Option<Arc<Certificate>>,
    stack_layer: Option<StackLayer>,
    platform: Arc<Platform>,
    key: &str,
) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("waiting for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("waiting for SIGINT")?;
    let listener = TcpListener::from_std(sockets.own).context("preparing a socket")?;
    let prepare = |socket| TcpListener::from_std(socket).context("preparing a socket");
    let (router_tls, certificates) = sockets.router_tls.unzip();
    let router_sockets = router::Sockets {
        plain: prepare(sockets.router)?,
        tls: router_tls.map(prepare).transpose()?,
        metrics: sockets.metrics.map(prepare).transpose()?,
    };
    let address = listener.local_addr().context("asking for the port")?;
    tracing::info!(data = %platform.data.path().display(), stack = %platform.options.machine.stack, "started");
    let limits = Limits {
        behind_proxy: settings.behind_proxy,
        ..Limits::default()
    };
    let public_url = settings
        .public_url
        .as_ref()
        .map(|url| url.as_str().to_owned());
    let scheme = if certificate.is_some() {
        "https"
    } else {
        "http"
    };
    // Nobody need read it; programs that start a server wait for this line.
    let numbers = match &router_sockets.metrics {
        Some(listener) => format!("Numbers are at http://{}/metrics\n", listener.local_addr()?),
        None => String::new(),
    };
    let domain = &settings.domain;
    let plain = router_sockets.plain.local_addr()?.port();
    let secure = match &router_sockets.tls {
        Some(listener) => format!(
            " and https://NAME.{domain}:{}/",
            listener.local_addr()?.port()
        ),
        None => String::new(),
    };
    let _ = print::print(format!(
        "Slugline listens on {scheme}://{address}\n{numbers}Apps answer at http://NAME.{domain}:{plain}/{secure}\n"
    ));
    let starting = platform.clone();
    tokio::task::spawn_blocking(move || {
        if let Err(error) = starting.start_dynos() {
            tracing::error!(error = format!("{error:#}"), "no dyno could be started");
        }
    });
    let router = Router::new(
        platform.dynos.routes().clone(),
        platform.streams.clone(),
        router_limits(&settings.router, open_files),
    );
    let router = match certificates {
        Some(certificates) => router.with_tls(certificates)?,
        None => router,
    };
    let (stop, mut stopped) = watch::channel(());
    let routing = tokio::spawn(router::serve(
        router_sockets,
        Arc::new(router),
        async move {
            // Both when it is told and when the teller is gone.
            let _ = stopped.changed().await;
        },
    ));
    let mut draining = stop.subscribe();
    let drains = tokio::spawn(drain::serve(platform.clone(), async move {
        let _ = draining.changed().await;
    }));
    let mut server = Server::new(platform.clone(), key, environment::git()?, address)
        .with_limits(limits)
        .with_public_url(public_url)
        .with_stack_layer(stack_layer);
    if let Some(certificate) = certificate {
        server = server.with_tls(certificate)?;
    }
    let ended = serve(listener, Arc::new(server), async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
    .await;
    drop(stop);
    routing.await.context("ending the router")??;
    drains.await.context("ending the drains")?;
    let stopping = tokio::task::spawn_blocking(move || platform.dynos.stop_all());
    stopping.await.context("stopping the dynos")?;
    ended
}

/// Times in the ledger's form.
struct Clock;

impl FormatTime for Clock {
    fn format_time(
        &self,
        writer: &mut tracing_subscriber::fmt::format::Writer<'_>,
    ) -> std::fmt::Result {
        write!(writer, "{}", clock::now())
    }
}

fn start_log(format: LogFormat) {
    // HTTP/2 tells of every frame: only to those who ask for it by name.
    let filter = format!("h2=info,{}", environment::log_filter());
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_timer(Clock);
    match format {
        LogFormat::Human => builder
            .with_ansi(io::stderr().is_terminal())
            .with_target(false)
            .init(),
        LogFormat::Json => builder.json().init(),
    }
}
