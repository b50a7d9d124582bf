//! What the operator can set: flags, environment variables, and a file.

use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, ValueEnum};
use ipnet::IpNet;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Serves the immutable audit log over HTTP
///
/// The program logs in to PostgreSQL with a login that has the role immutable_server and no other. It
/// can be stopped and started at any time, and several of them can serve one log.
///
/// Each setting is a flag, an environment variable, or a line of the file that --config names: TOML
/// with the names of the flags, without the dashes in front. A flag is stronger than the environment,
/// and the environment stronger than the file. In the environment several values are separated by commas.
#[derive(Parser, Clone, Debug)]
#[command(
    name = "immutable-server",
    version,
    max_term_width = 100,
    after_help = "immutable-server try-delivery --help: sends events to a destination once, and says what happened"
)]
pub(crate) struct Options {
    /// A file with settings, in TOML
    #[arg(long, env = "IMMUTABLE_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) listening: Listening,
    #[command(flatten)]
    pub(crate) log: Log,
    #[command(flatten)]
    pub(crate) http: Http,
    #[command(flatten)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) features: Features,
}

/// Where clients connect.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Clients")]
pub(crate) struct Listening {
    /// Where to listen
    #[arg(long, env = "IMMUTABLE_LISTEN", default_value = "127.0.0.1:7300", value_name = "ADDRESS:PORT")]
    pub(crate) listen: SocketAddr,
    /// How many threads serve requests [default: one for two processors]
    #[arg(long, env = "IMMUTABLE_WORKERS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) workers: Option<u16>,
    /// The most connections of clients at a time; more wait until one ends
    #[arg(long, env = "IMMUTABLE_CLIENTS", default_value_t = 10_000, value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) clients: u32,
    /// The certificate chain for clients, in PEM; with it the program speaks TLS
    #[arg(long, env = "IMMUTABLE_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The private key of the certificate, in PEM
    #[arg(long, env = "IMMUTABLE_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// A proxy, or a network of them, whose X-Forwarded-For and X-Forwarded-Proto are believed; may be repeated
    #[arg(long, env = "IMMUTABLE_TRUSTED_PROXY", value_name = "CIDR", value_delimiter = ',', value_parser = network)]
    pub(crate) trusted_proxy: Vec<IpNet>,
}

/// How the program reaches PostgreSQL.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "PostgreSQL")]
pub(crate) struct Log {
    /// How to connect: keywords and values as libpq takes them, or a URI
    #[arg(long, env = "IMMUTABLE_DATABASE", value_name = "CONNECTION", hide_env_values = true)]
    pub(crate) database: String,
    /// The most connections to PostgreSQL for requests
    #[arg(long, env = "IMMUTABLE_CONNECTIONS", default_value_t = 16, value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub(crate) connections: u16,
}

/// What requests may do.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Requests")]
pub(crate) struct Http {
    /// The address under which clients know the program, for links in answers
    #[arg(long, env = "IMMUTABLE_PUBLIC_URL", value_name = "URL", value_parser = public_url)]
    pub(crate) public_url: Option<String>,
    /// A web page's origin whose scripts may read the answers, * for all; may be repeated
    #[arg(long, env = "IMMUTABLE_CORS_ORIGIN", default_value = "*", value_name = "ORIGIN", value_delimiter = ',')]
    pub(crate) cors_origin: Vec<String>,
    /// The most bytes of a request's body
    #[arg(long, env = "IMMUTABLE_MAX_BODY", default_value_t = 8 * 1024 * 1024, value_name = "BYTES",
        value_parser = clap::value_parser!(u64).range(1024..=256 * 1024 * 1024))]
    pub(crate) max_body: u64,
    /// The most requests with one API key or token in a minute [default: any number]
    #[arg(long, env = "IMMUTABLE_RATE_LIMIT", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate_limit: Option<u32>,
    /// A file with an API key with the scope verify; with it checkpoints and tiles need no key
    #[arg(long, env = "IMMUTABLE_PUBLIC_KEY_FILE", value_name = "FILE")]
    pub(crate) public_key_file: Option<PathBuf>,
    /// Which pages may show the viewer in a frame, as in a Content-Security-Policy
    #[arg(long, env = "IMMUTABLE_FRAME_ANCESTORS", default_value = "*", value_name = "SOURCES",
        value_parser = frame_sources)]
    pub(crate) frame_ancestors: String,
}

/// What the program writes.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Logs")]
pub(crate) struct Output {
    /// How log lines are written, to standard error
    #[arg(long, env = "IMMUTABLE_LOG_FORMAT", default_value = "text", value_name = "FORMAT", value_enum)]
    pub(crate) log_format: LogFormat,
    /// What is logged: error, warn, info, debug, or directives as in info,requests=off
    #[arg(long, env = "IMMUTABLE_LOG_LEVEL", default_value = "info", value_name = "LEVEL")]
    pub(crate) log_level: String,
}

/// Deliveries of events and alerts to other systems.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Deliveries")]
pub(crate) struct Features {
    /// How to connect with a login that has the role immutable_deliverer; with it events are delivered
    #[arg(long, env = "IMMUTABLE_DELIVERY_DATABASE", value_name = "CONNECTION", hide_env_values = true)]
    pub(crate) delivery_database: Option<String>,
    /// A directory whose files are the secrets that destinations name
    #[arg(long, env = "IMMUTABLE_SECRETS_DIR", value_name = "DIRECTORY")]
    pub(crate) secrets_dir: Option<PathBuf>,
    /// A directory below which destinations of type file write
    #[arg(long, env = "IMMUTABLE_FILES_DIR", value_name = "DIRECTORY")]
    pub(crate) files_dir: Option<PathBuf>,
    /// The most connections to PostgreSQL for deliveries
    #[arg(long, env = "IMMUTABLE_DELIVERY_CONNECTIONS", default_value_t = 4, value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) delivery_connections: u16,
    /// After how many seconds another program may go on where this one ended without a word
    #[arg(long, env = "IMMUTABLE_DELIVERY_LEASE", default_value_t = 30, value_name = "SECONDS",
        value_parser = clap::value_parser!(u16).range(1..=600))]
    pub(crate) delivery_lease: u16,
    /// The pauses, in seconds, after the first failure in a row, the second, and so on; the last is repeated
    #[arg(long, env = "IMMUTABLE_DELIVERY_RETRY", value_name = "SECONDS", value_delimiter = ',', value_parser = pause,
        default_value = "5,30,300,1800,7200,18000,36000,50400,72000,86400")]
    pub(crate) delivery_retry: Vec<f64>,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

impl Options {
    /// What flags, the environment and the file say. Ends the program, as clap does, where they are wrong.
    ///
    /// # Errors
    /// A sentence for the operator, if the file cannot be read or has a name that is unknown.
    pub(crate) fn read() -> Result<Options, String> {
        let mut command = Options::command();
        if let Some(file) = config_file() {
            for (name, values) in super::configuration::settings(&file, &command)? {
                command = command.mut_arg(name, |arg| arg.default_values(values).required(false));
            }
        }
        let matches: ArgMatches = command.clone().get_matches();
        Options::from_arg_matches(&matches).map_err(|error| error.format(&mut command).exit())
    }
}

/// The file that --config or the environment names. Everything else is read once the file is.
fn config_file() -> Option<PathBuf> {
    let command = Options::command().ignore_errors(true).disable_help_flag(true).disable_version_flag(true);
    command.try_get_matches().ok()?.get_one::<PathBuf>("config").cloned()
}

/// An address alone is a network of one.
fn network(text: &str) -> Result<IpNet, String> {
    let one = text.parse::<std::net::IpAddr>().map(IpNet::from);
    text.parse().or(one).map_err(|_| String::from("this is neither an address nor a network such as 10.0.0.0/8"))
}

/// A pause between two tries, up to a week.
fn pause(text: &str) -> Result<f64, String> {
    let seconds = text.trim().parse::<f64>().ok().filter(|seconds| (0.01..=604_800.0).contains(seconds));
    seconds.ok_or_else(|| String::from("a pause is a number of seconds from 0.01 to 604800"))
}

fn public_url(text: &str) -> Result<String, String> {
    let url = text.trim_end_matches('/');
    match url.starts_with("http://") || url.starts_with("https://") {
        true => Ok(url.to_owned()),
        false => Err(String::from("this does not begin with https:// or http://")),
    }
}

/// Sources as `frame-ancestors` of a Content-Security-Policy takes them: `*`, `'self'`, `'none'`,
/// `https://app.example.com`, `https://*.example.com`.
///
/// # Errors
/// A sentence for the operator: what is no list of sources could end the directive and begin another.
fn frame_sources(text: &str) -> Result<String, String> {
    let sources: Vec<&str> = text.split_ascii_whitespace().collect();
    if sources.is_empty() {
        return Err(String::from("it is empty; 'none' forbids all frames"));
    }
    let is_source = |source: &&str| source.bytes().all(|b| b.is_ascii_graphic() && b != b';' && b != b',');
    match sources.iter().find(|source| !is_source(source)) {
        Some(source) => Err(format!("{source:?} is no source of a Content-Security-Policy")),
        None => Ok(sources.join(" ")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::configuration::of_text;
    use super::frame_sources;
    use super::Options;
    use clap::CommandFactory;

    #[test]
    fn sources_stay_as_they_are() {
        assert_eq!(frame_sources(" 'self'  https://*.example.com "), Ok(String::from("'self' https://*.example.com")));
    }

    #[test]
    fn nothing_begins_another_directive() {
        assert!(frame_sources("*; script-src *").is_err());
        assert!(frame_sources("https://a.example, https://b.example").is_err());
        assert!(frame_sources("https://ä.example").is_err());
        assert!(frame_sources(" ").is_err());
    }

    #[test]
    fn a_file_has_the_names_of_flags_and_no_others() {
        let read = |text: &str| of_text(text, &Options::command());
        assert_eq!(read("max-body = 2048").unwrap(), [("max_body".to_owned(), vec!["2048".to_owned()])]);
        let proxies = read("trusted-proxy = [\"10.0.0.0/8\", \"::1\"]").unwrap();
        assert_eq!(proxies, [("trusted_proxy".to_owned(), vec!["10.0.0.0/8".to_owned(), "::1".to_owned()])]);
        for wrong in [
            "maxbody = 1",
            "max_body = 1",
            "config = \"x\"",
            "help = true",
            "listen = [\"a\", \"b\"]",
            "=",
            "listen = {}",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
