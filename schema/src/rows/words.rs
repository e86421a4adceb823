//! Enums that are words in the store and in listings.

/// A word that is none of those expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown word {word:?}: expected one of: {expected}")]
pub struct UnknownWord {
    /// What was given, shortened.
    pub word: String,
    /// The words that are known, separated by blanks.
    pub expected: &'static str,
}

/// Makes an enum of words, with `as_str`, `Display`, `FromStr` and serde. Its user imports `fmt`, `FromStr`, `Serialize` and `Deserialize`.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &[$name] = &[$($name::$variant,)*];

            /// The word for it in the store and in listings.
            pub fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => $word,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(word: &str) -> Result<Self, UnknownWord> {
                match word {
                    $($word => Ok($name::$variant),)*
                    _ => Err(UnknownWord { word: word.chars().take(32).collect(), expected: concat!($($word, " ",)*) }),
                }
            }
        }
    };
}

pub(super) use words;
