"""The reference service: an HTTP API, its worker and its one-shot jobs.

Layout
------
`__main__`     starts an API replica              `worker`      starts the worker
`migrate`      brings the schema up to date       `seed`        fills in example data
`main`         builds the API out of the parts below

`settings`     the environment, parsed once       `server`      HTTP server, shutdown order
`middleware`   what happens to every request      `problems`    errors as RFC 9457 documents
`shortcut`     the most frequent request, out of memory
`routes/`      HTTP in, HTTP out                  `schemas`     what crosses the wire
`users`, `posts`  the domain: what a request does to the database
`models`, `db` rows; what a database can do       `passwords`   hashing off the event loop
`sqlite`, `postgres`  the two databases
`cache`        read-through, single flight        `stores`      where cached entries live
`breaker`      stops asking a store that is down
`outbox`       messages written with the data     `broker`      relay and consumer over AMQP
`mailer`       what the worker does with one message
`health`, `metrics`, `logging`  what operators see

Nothing here imports a driver (asyncpg, redis, aio-pika) before its URL asks for it.
"""

__version__ = "0.1.0"
