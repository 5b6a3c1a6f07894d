"""Records behind the beginning of an open transaction are visible as lag, with their age."""

from __future__ import annotations

import logging

import pytest
from aiokafka import TopicPartition

from services.kafka.open_transactions import SAY_AFTER_MS, OpenTransactions

TP = TopicPartition("text", 3)


def test_records_behind_an_open_transaction_age_until_it_ends() -> None:
    transactions = OpenTransactions()
    transactions.observe(TP, None, None, 0)
    transactions.observe(TP, 5, 5, 0)
    assert list(transactions.oldest_ms()) == []
    transactions.observe(TP, 5, 6, 100)
    transactions.observe(TP, 5, 9, 200)
    assert list(transactions.oldest_ms()) == [("text", 100)]
    transactions.observe(TP, 7, 9, 300)
    assert list(transactions.oldest_ms()) == [("text", 300)], "that transaction ended, and another one is open"
    transactions.observe(TP, 9, 9, 400)
    assert list(transactions.oldest_ms()) == []


def test_transaction_that_stays_open_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    transactions = OpenTransactions()
    with caplog.at_level(logging.WARNING):
        for now_ms in (0, SAY_AFTER_MS - 1, SAY_AFTER_MS, SAY_AFTER_MS + 1):
            transactions.observe(TP, 5, 8, now_ms)
    (record,) = caplog.records
    assert (record.__dict__["since"], record.__dict__["records"]) == (5, 3)
