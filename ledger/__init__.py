"""What neighbours owe each other, and how it is paid.

Each peer pays the next one on the path, per megabyte, before it is carried. Payer and payee each have an *account* for
a link (`account`); what two that pay each other cancel is the *set-off* (`set_off`). The payer signs *vouchers*
(`voucher`), each of which says all that was ever paid on a *channel*; the *store* keeps the highest one; the
*settlement* holds the deposits and pays out (`settlement`, with `local` and `evm`). `messages` is what the two ends say
to each other, `payer` and `payee` when they say it.

Nothing here knows of hosts, flows, circuits or addresses on the network, and nothing here reads a clock. Prices are in
`core.tariffs`; what is counted, and when, is decided in `tunnel`.
"""
