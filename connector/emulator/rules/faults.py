"""The rules of planned failures: what a deadlock, a timeout or a plug-in that throws answers."""

from __future__ import annotations

from connector.emulator.rules.rule import Evidence, Rule

DEADLOCK = Rule(
    "fault.deadlock",
    "A deadlock victim is rolled back; the number 1205 stands in the message.",
    Evidence.DOCUMENT,
    "data-platform: bulk operation errors; status inferred",
    500,
    "0x80044150",
    "Generic SQL error. CRM ErrorCode: -2147204784 Sql ErrorCode: -2146232060 Sql Number: 1205",
)
LOCK_TIMEOUT = Rule(
    "fault.lock_timeout",
    "A row's application lock could not be had; nothing happened.",
    Evidence.FORUM,
    "rezanid/PSDataverse: src/PSDataverse/Dataverse/Model/ErrorCodes.cs; status inferred",
    500,
    "0x80044339",
    "Cannot obtain lock on resource:'{}_{}', mode:Update - stored procedure sp_getapplock returned error code -3. The "
    "lock request was chosen as a deadlock victim.",
)
SQL_TIMEOUT = Rule(
    "fault.sql_timeout",
    "A statement took too long; the transaction is rolled back.",
    Evidence.DOCUMENT,
    "data-platform: bulk operation errors; status inferred",
    500,
    "0x80044151",
    "SQL timeout expired. CRM ErrorCode: -2147204783 Sql ErrorCode: -2146232060 Sql Number: -2",
)
PLUGIN = Rule(
    "fault.plugin",
    "A synchronous plug-in that throws aborts the operation; its text is the message.",
    Evidence.DOCUMENT,
    "data-platform: compose HTTP requests and handle errors",
    400,
    "0x80040265",
    "{}",
)
PLUGIN_TIMEOUT = Rule(
    "fault.plugin_timeout",
    "A synchronous plug-in that takes longer than two minutes is cut off and the operation undone.",
    Evidence.DOCUMENT,
    "data-platform: analyze-performance (two minutes); error list: SandboxHostPluginTimeout; status inferred",
    400,
    "0x80044172",
    "The plug-in execution failed because the operation has timed-out at the Sandbox Host.",
)
STORE_FAILED = Rule(
    "fault.store",
    "The emulator's own database could not do it (a full disk, a file locked by another process): nothing of the "
    "transaction stands.",
    Evidence.INFERRED,
    "no rule of the service: the emulator's own trouble, under the service's code for a failed statement",
    500,
    "0x80044150",
    "Generic SQL error.",
)
FAULT_RULES = (DEADLOCK, LOCK_TIMEOUT, SQL_TIMEOUT, PLUGIN, PLUGIN_TIMEOUT, STORE_FAILED)
