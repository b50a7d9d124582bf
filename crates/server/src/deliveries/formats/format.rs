//! The names of the formats.

/// A format in which items are delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// The service's webhook JSON.
    Json,
    /// OCSF: API Activity (6003), and Detection Finding (2004) for alerts.
    Ocsf,
    /// CloudEvents 1.0.
    CloudEvents,
    /// The Common Event Format.
    Cef,
    /// The Log Event Extended Format.
    Leef,
}

impl Format {
    /// The name of the format.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Format::Json => "json",
            Format::Ocsf => "ocsf",
            Format::CloudEvents => "cloudevents",
            Format::Cef => "cef",
            Format::Leef => "leef",
        }
    }

    /// Whether an item is a JSON object in this format, and not a line of text.
    pub(crate) fn is_json(self) -> bool {
        !matches!(self, Format::Cef | Format::Leef)
    }

    /// The format of this name.
    ///
    /// # Errors
    /// A sentence for whoever named it.
    pub(crate) fn parse(name: &str) -> Result<Format, String> {
        match name {
            "json" => Ok(Format::Json),
            "ocsf" => Ok(Format::Ocsf),
            "cloudevents" => Ok(Format::CloudEvents),
            "cef" => Ok(Format::Cef),
            "leef" => Ok(Format::Leef),
            _ => Err(format!("There is no format {name:?}: it is json, ocsf, cloudevents, cef or leef.")),
        }
    }
}
