//! Telling a person what is going on: a spinner on a terminal, plain lines elsewhere, nothing beside JSON.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Speaks to standard error while JSON goes to standard output, else to standard output.
pub(super) struct Narrator {
    spinner: Option<ProgressBar>,
    json: bool,
}

impl Narrator {
    pub(super) fn new(json: bool) -> Narrator {
        use std::io::IsTerminal;
        let spinner = (!json && std::io::stdout().is_terminal()).then(|| {
            let spinner = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                spinner.set_style(style);
            }
            spinner.enable_steady_tick(Duration::from_millis(120));
            spinner
        });
        Narrator { spinner, json }
    }

    /// Begins something that may take a moment.
    pub(super) fn step(&self, text: &str) {
        match &self.spinner {
            Some(spinner) => {
                spinner.println(format!("-- {text}"));
                spinner.set_message(text.to_owned());
            }
            None => self.say(&format!("-- {text}")),
        }
    }

    /// Says something.
    pub(super) fn say(&self, text: &str) {
        match &self.spinner {
            Some(spinner) => spinner.suspend(|| println!("{text}")),
            None if self.json => {}
            None => println!("{text}"),
        }
    }
}
