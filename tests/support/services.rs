//! Real PostgreSQL, Redis and RabbitMQ.
