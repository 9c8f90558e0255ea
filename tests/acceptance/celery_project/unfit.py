"""An application whose tasks would behave otherwise here."""

from __future__ import annotations

from celery import Celery, group

app = Celery("unfit", broker="memory://", set_as_current=False)


@app.task(shared=False, serializer="pickle")
def pickled(value):
    return value


@app.task(shared=False, max_retries=None, bind=True)
def endless(self):
    raise self.retry()


@app.task(shared=False, rate_limit="100/m")
def limited():
    pass


@app.task(shared=False)
def waits_for_a_task(url):
    page = fine.delay(url)
    return page.get()


@app.task(shared=False)
def waits_for_a_group(urls):
    return group(fine.s(url) for url in urls)().get(disable_sync_subtasks=False)


@app.task(shared=False, bind=True)
def replaces(self, url):
    raise self.replace(fine.s(url))


@app.task(shared=False, rate_limit="often")
def unlimited():
    pass


@app.task(shared=False, bind=True)
def adds_to_its_chord(self, url):
    self.add_to_chord(fine.s(url))


@app.task(shared=False, time_limit=7200)
def long():
    pass


@app.task(shared=False)
async def awaited():
    pass


@app.task(shared=False, name="Twice.named")
def first():
    pass


@app.task(shared=False, name="twice_named")
def second():
    pass


@app.task(shared=False)
def fine(url):
    return url
