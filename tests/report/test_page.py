"""The page in a real browser: it draws, says nothing in the console, asks for nothing, and does what it offers."""

import shutil
import threading
from contextlib import contextmanager

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from flowtrain.report import watch, write_report
from flowtrain.utils.files import FileLock
from flowtrain.utils.run_status import LOCK, record_end

from .helpers import STEPS, a_run, epoch, open_monitors, settings

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.skipif(
        CHROMIUM is None or DRIVER is None,
        reason="no chromium with chromedriver here: apt-get install chromium chromium-driver",
    ),
    pytest.mark.xdist_group("browser"),
]
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--hide-scrollbars --disable-component-update --disable-sync --disable-dev-shm-usage --window-size=1280,900"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.set_page_load_timeout(60)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    profile = (
        '{"stages": [{"name": "ImageFromFile", "where": "here", "datapoints": 5, "ms": 3.5, "ms_per_output": 28.0,'
    )
    profile += ' "cpu_share": 1.0, "share": 1.0, "queue": null, "depth": 0, "advice": ""}], "per_second": 35.0,'
    profile += ' "first_seconds": 0.5, "waited": 0.0, "verdict": "ImageFromFile takes 100% of the flow\'s time."}'
    one, other = a_run(folder / "one"), a_run(folder / "other", pull=0.5, failure=ValueError("no such colour"))
    (one / "data.json").write_text(profile)
    return write_report([one, other], folder / "report.html")


@contextmanager
def width(browser, pixels):
    size = {"width": pixels, "height": 800, "deviceScaleFactor": 1, "mobile": pixels < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        yield
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def opened(browser, path):
    browser.get_log("browser")  # what other pages said
    browser.get(f"file://{path}")
    browser.execute_script("sessionStorage.clear()")
    browser.refresh()
    wait(browser, "return document.querySelectorAll('.js-plotly-plot .main-svg').length > 0")


def wait(browser, script, *args):
    return WebDriverWait(browser, 60, poll_frequency=0.05).until(lambda b: b.execute_script(script, *args))


def visible(browser, panel="cost"):
    """Name -> whether its curve is drawn, in one of the plots."""
    script = """
        const cards = [...document.querySelectorAll('#curves .plot')];
        const card = cards.find(c => c.querySelector('h3').textContent === arguments[0]);
        const traces = card.querySelector('.js-plotly-plot')._fullData;
        return Object.fromEntries(traces.map(t => [t.name, t.visible === true]));
    """
    return browser.execute_script(script, panel)


def test_it_draws_everything_and_says_and_asks_nothing(browser, page):
    opened(browser, page)
    titles = [heading.text for heading in browser.find_elements(By.TAG_NAME, "h2")]
    expected = ["Runs", "What differs", "Curves", "Pictures", "Histograms", "Where the time went", "Data"]
    assert titles == [*expected, "Settings and environment"]
    drawn = browser.execute_script(
        "return [...document.querySelectorAll('.draw')].map(d => d.querySelectorAll('path').length)"
    )
    assert len(drawn) == 2 + 2 + 2 and min(drawn) > 3
    images = browser.execute_script(
        "return [...document.querySelectorAll('img')].map(i => [i.complete, i.naturalWidth])"
    )
    assert len(images) == 6 and all(complete and pixels == 30 for complete, pixels in images)
    asked = browser.execute_script("return performance.getEntriesByType('resource').map(r => r.name)")
    assert [name for name in asked if not name.startswith("data:")] == []
    assert browser.get_log("browser") == []
    assert "no such colour" in browser.find_element(By.ID, "runs").text
    assert "waiting for data 29 %" in browser.find_element(By.ID, "time").text
    assert "ImageFromFile takes 100% of the flow's time" in browser.find_element(By.ID, "data").text


def test_the_time_of_a_step_is_that_of_epochs_whose_steps_are_known(browser, tmp_path):
    run = a_run(tmp_path / "run")
    timeline = run / "timeline.jsonl"
    lines = [line for line in timeline.read_text().splitlines(keepends=True) if '"epoch": 1,' not in line]
    timeline.write_text("".join(lines))
    opened(browser, write_report([run], tmp_path / "report.html"))
    assert "A step took 40 ms." in browser.find_element(By.ID, "time").text  # 2 s for 50 steps


def test_legends_and_runs_switch_curves(browser, page):
    opened(browser, page)
    every = {"one · cost", "one · validation_cost", "other · cost", "other · validation_cost"}
    assert visible(browser) == dict.fromkeys(every, True)
    legend = browser.find_elements(By.CSS_SELECTOR, "#curves .plot:first-child .legendtoggle")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", legend[0])
    panel = browser.find_element(By.CSS_SELECTOR, "#curves .plot:first-child h3").text
    first = next(iter(visible(browser, panel)))
    webdriver.ActionChains(browser).move_to_element(legend[0]).click().perform()
    WebDriverWait(browser, 30).until(lambda b: not visible(b, panel)[first])
    assert list(visible(browser, panel).values()).count(False) == 1
    browser.find_element(By.CSS_SELECTOR, "#curves button.run[data-run='other']").click()
    assert not any(shown for name, shown in visible(browser).items() if name.startswith("other"))
    assert browser.find_element(By.CSS_SELECTOR, "figure[data-run='other']").is_displayed() is False
    assert browser.get_log("browser") == []


def test_scales_smoothing_and_sorting(browser, page):
    opened(browser, page)
    plot = "document.querySelector('#curves .js-plotly-plot')"
    browser.find_element(By.ID, "log").click()
    assert browser.execute_script(f"return {plot}._fullLayout.yaxis.type") == "log"
    browser.find_element(By.CSS_SELECTOR, "#axis option[value='time']").click()
    assert browser.execute_script(f"return {plot}._fullLayout.xaxis.title.text") == "minutes"
    before = browser.execute_script(f"return {plot}._fullData.length")
    slide = "const s = document.getElementById('smooth'); s.value = 0.6; s.dispatchEvent(new Event('input'))"
    browser.execute_script(slide)
    assert browser.execute_script(f"return {plot}._fullData.length") == 2 * before
    heads = browser.find_elements(By.CSS_SELECTOR, "#runs th button")
    by_cost = next(head for head in heads if head.text == "validation_accuracy")
    order = "return [...document.querySelectorAll('#runs tbody tr')].map(r => r.querySelector('.run').textContent)"
    by_cost.click()
    assert browser.execute_script(order) == ["one", "other"]
    by_cost.click()
    assert browser.execute_script(order) == ["other", "one"]
    assert browser.get_log("browser") == []


def test_a_drag_zooms_and_the_zoom_survives_a_renewal(browser, page):
    opened(browser, page)
    target = browser.find_element(By.CSS_SELECTOR, "#curves .js-plotly-plot .nsewdrag")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", target)
    range_of = "return document.querySelector('#curves .js-plotly-plot')._fullLayout.xaxis.range"
    before = browser.execute_script(range_of)
    drag = webdriver.ActionChains(browser).move_to_element(target).click_and_hold()
    drag.move_by_offset(90, 60).release().perform()
    wait(
        browser, f"{range_of.replace('return', 'const r =')}; return r[1] - r[0] < arguments[0]", before[1] - before[0]
    )
    zoomed = browser.execute_script(range_of)
    browser.refresh()
    wait(browser, "return document.querySelectorAll('#curves .js-plotly-plot .main-svg').length > 0")
    assert browser.execute_script(range_of) == pytest.approx(zoomed)


def test_the_slider_goes_through_the_pictures(browser, page):
    opened(browser, page)
    source = "return document.querySelector('#pictures img').src"
    last = browser.execute_script(source)
    slide = "const s = document.querySelector('#pictures input'); s.value = 0; s.dispatchEvent(new Event('input'));"
    browser.execute_script(slide)
    assert browser.execute_script(source) != last
    assert f"step {STEPS}" in browser.find_element(By.ID, "pictures").text


@pytest.mark.parametrize("pixels", [360, 390, 768])
def test_no_page_is_wider_than_its_screen(browser, page, pixels):
    with width(browser, pixels):
        opened(browser, page)
        wait(browser, "return document.documentElement.scrollWidth === arguments[0]", pixels)
        out = """return [...document.querySelectorAll('.card, h2, .js-plotly-plot')]
            .filter(e => e.getBoundingClientRect().right > innerWidth + 1).length"""
        assert browser.execute_script(out) == 0


def test_a_page_that_is_watched_renews_itself_until_the_run_ends(browser, tmp_path):
    run = tmp_path / "run"
    settings(run)
    lock = FileLock(run / LOCK)
    assert lock.acquire("a test")
    monitors = open_monitors(run)
    epoch(monitors, 1)
    write_report([run], tmp_path / "report.html", refresh=0.5)
    watcher = threading.Thread(target=watch, args=([run], tmp_path / "report.html"), kwargs={"every": 0.5})
    watcher.start()
    try:
        shown = "return document.querySelector('#runs .figures')?.textContent.includes(arguments[0])"
        browser.get(f"file://{tmp_path / 'report.html'}")
        wait(browser, shown, "running")
        wait(browser, shown, "1 / 6")
        click = "const log = document.getElementById('log'); if (!log.checked) log.click(); return log.checked"
        wait(browser, click)  # in one script: the page may renew itself between finding and clicking
        epoch(monitors, 2)
        wait(browser, shown, "2 / 6")
        wait(browser, "return document.getElementById('log').checked")  # what was chosen stays
        record_end(run, None)
        lock.release()
        wait(browser, shown, "finished")
        watcher.join(60)
        assert not watcher.is_alive()
        wait(browser, "return document.body.dataset.refresh === '0'")
    finally:
        monitors.close()
        record_end(run, None)
        lock.release()
        watcher.join(60)
