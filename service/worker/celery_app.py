"""The worker process: Celery brings the rings, a thread works, and SIGTERM ends it in order.

Celery acknowledges a ring before it is heeded and keeps no results: which job is whose is the database's affair. One
thread works while the main thread goes on listening, so that a signal to end reaches the job at work. Independent of
Redis, the worker looks for jobs by itself now and then.
"""

from __future__ import annotations

import os
import socket
import threading
from typing import Any

from celery import Celery, signals
from celery.apps.worker import Worker as CeleryWorker

from models_store.store import ModelStore
from service.bell import TASK, CeleryBell
from service.db import make_engine, make_sessions
from service.leases import Worker
from service.one_machine.parts import EXIT_REFUSED, StartError
from service.settings import Settings
from service.worker.previewer import Previewer
from service.worker.reconcile import Reconciler
from service.worker.registrar import Registrar
from service.worker.supervise import Workplace
from service.worker.tasks import Hand


def run_worker(settings: Settings) -> int:
    """Works until SIGTERM or SIGINT; returns the exit status. Raises StartError when nobody says where Redis is."""
    if not settings.redis_url:
        raise StartError(
            "a worker needs Redis: name a server in FUSEBOX_REDIS_URL, or run everything with `fusebox up`",
            EXIT_REFUSED,
        )
    engine = make_engine(settings.effective_database_url)
    host = socket.gethostname()
    place = Workplace(
        settings=settings,
        sessions=make_sessions(engine),
        store=ModelStore(settings.models_url),
        bell=CeleryBell(settings.redis_url),
        worker=Worker(settings.worker_name or f"{host}:{os.getpid()}", host),
        draining=threading.Event(),
    )
    hand = Hand(place)
    reconciler = Reconciler(place.sessions, place.bell, settings)
    registrar = Registrar(place.sessions, settings, place.worker.name)
    previewer = Previewer(place.sessions, settings, at_work=lambda: hand.is_at_work)
    looking = threading.Thread(target=_look_now_and_then, args=(hand, place), name="looking")
    reconciler.start()
    registrar.start()
    previewer.start()
    looking.start()
    try:
        return _listen(make_celery(settings, hand), place)
    finally:
        place.draining.set()
        previewer.stop()
        registrar.stop()
        looking.join()
        reconciler.stop()
        engine.dispose()


def make_celery(settings: Settings, hand: Hand) -> Celery:
    app = Celery("fusebox", broker=settings.redis_url, set_as_current=False)
    app.conf.update(
        task_ignore_result=True,
        task_acks_late=False,
        accept_content=["json"],
        worker_disable_prefetch=True,  # a ring that a busy worker holds back would be lost to the idle ones
        worker_prefetch_multiplier=1,
        worker_concurrency=1,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 25,
        },
    )

    def look(_job_id: str) -> None:
        hand.work_off()

    app.task(look, name=TASK)
    return app


def _listen(app: Celery, place: Workplace) -> int:
    def drain(**_: Any) -> None:
        place.draining.set()

    signals.worker_shutting_down.connect(drain)
    worker = CeleryWorker(
        app=app, queues=list(place.settings.queues), pool="threads", hostname=f"fusebox@{place.worker.name}",
        loglevel="WARNING", quiet=True, without_gossip=True, without_mingle=True, without_heartbeat=True,
    )  # fmt: skip
    worker.start()
    return int(worker.exitcode or 0)


def _look_now_and_then(hand: Hand, place: Workplace) -> None:
    hand.work_off_if_idle()
    while not place.draining.wait(place.settings.ring_again_s):
        hand.work_off_if_idle()
