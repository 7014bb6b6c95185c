from tests.integration.ingest.test_service import *
import time
@pytest.mark.parametrize("ex", ["coinbase","binance"])
def test_counts(redis_url, database_url, ex):
    with played(redis_url, database_url, [ex], SPEED, START_MS) as p:
        p.want(ex, top=20)
        s = service_of(p, ex); s.start()
        assert s.wait_for_state(InstanceState.ACTIVE, 60)
        c0=p.counters(ex); t0=p.market_now(ex)
        time.sleep(40)
        c1=p.counters(ex); now=p.market_now(ex)
        print(ex, {k:(c0.get(k,0),v) for k,v in c1.items()}, "lag", (now-p.settled(ex))/1000, "ran", (now-t0)/60000)
        st=s._instance if hasattr(s,'_instance') else None
        s.stop()
    assert 0
