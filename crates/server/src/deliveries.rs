//! Deliveries of events and alerts to other systems.
