"""The Celery app that runs Dagster's runs, one worker process per queue.

    celery -A livermore_dagster.platform.celery_app worker -n boundary@%h -Q boundary -c 2 --without-gossip --without-mingle
    celery -A livermore_dagster.platform.celery_app worker -n batch@%h    -Q batch    -c 2 --without-gossip --without-mingle
    celery -A livermore_dagster.platform.celery_app worker -n ingest@%h   -Q ingest   -c 6 --without-gossip --without-mingle

Needs the LIVERMORE_* settings, LIVERMORE_CELERY_URL and DAGSTER_HOME in its environment. Definitions are loaded
before the pool forks, so that a run finds them warm.
"""
