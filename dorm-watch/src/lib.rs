//! Phones, routers and sites watched from the centre; alarms with their causes and remedies.
