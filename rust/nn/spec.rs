//! How users write a function that may take a number: `"huber"`, `"huber(0.5)"` or `"huber(delta=0.5)"`.

use crate::error::{Result, invalid};

/// The name, and the argument with its own name, where they were given.
pub(super) type Spec<'a> = (&'a str, Option<(Option<&'a str>, &'a str)>);

/// Takes the text apart; whether the names are known is for the caller to say.
pub(super) fn parse(text: &str) -> Spec<'_> {
    let Some((name, argument)) = text.strip_suffix(')').and_then(|text| text.split_once('('))
    else {
        return (text, None);
    };
    let (key, value) = match argument.split_once('=') {
        Some((key, value)) => (Some(key.trim()), value.trim()),
        None => (None, argument.trim()),
    };
    (name, Some((key, value)))
}

/// The number that is the `parameter` of the function `name`.
pub(super) fn number(name: &str, parameter: &str, text: &str) -> Result<f64> {
    match text.parse() {
        Ok(number) => Ok(number),
        Err(_) => invalid!("{name} needs a finite {parameter}, got {text:?}"),
    }
}
