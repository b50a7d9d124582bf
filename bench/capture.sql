-- What bench/capture.py changes rows of: a table of 20 columns, as an application has it, and the rows that go into it.
-- {rows} of them are in the table at the start; as many more wait in the table staged.
CREATE TABLE invoice (
  id bigint PRIMARY KEY,
  number text NOT NULL,
  customer_id bigint NOT NULL,
  status text NOT NULL,
  currency text NOT NULL,
  net numeric(12, 2) NOT NULL,
  tax numeric(12, 2) NOT NULL,
  discount double precision NOT NULL,
  issued_on date NOT NULL,
  due_on date NOT NULL,
  is_paid boolean NOT NULL,
  reminders integer NOT NULL,
  note text,
  street text NOT NULL,
  city text NOT NULL,
  country text NOT NULL,
  iban text,
  details jsonb NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL
);
CREATE UNLOGGED TABLE staged (LIKE invoice);
INSERT INTO staged
  SELECT n, 'INV-' || lpad(n::text, 8, '0'), 1000 + n % 5000, (ARRAY['draft', 'sent', 'paid', 'overdue'])[1 + n % 4], 'EUR',
    10 + n % 100000 / 100.0, n % 19000 / 100.0, n % 7 / 8.0, date '2026-01-01' + n % 365, date '2026-02-01' + n % 365,
    n % 2 = 0, n % 3, CASE WHEN n % 3 > 0 THEN 'Delivered to the back door, see the order.' END, n % 300 || ' Long Acre',
    (ARRAY['London', 'Leipzig', 'Lyon'])[1 + n % 3], (ARRAY['GB', 'DE', 'FR'])[1 + n % 3],
    CASE WHEN n % 4 > 0 THEN 'DE89 3704 0044 0532 ' || lpad((n % 10000)::text, 4, '0') END,
    jsonb_build_object('order', n, 'channel', 'web', 'lines', n % 9), timestamptz '2026-01-01 00:00:00Z' + n * interval '1 s',
    timestamptz '2026-01-01 00:00:00Z' + n * interval '1 s'
  FROM generate_series(1, 2 * {rows}) n;
INSERT INTO invoice SELECT * FROM staged WHERE id <= {rows};
