"""Prototype of community1: python try.py FILE..."""
import sys,os,time,resource
sys.path.insert(0,"/tmp/wt5/src")
import numpy as np, soundfile as sf, onnxruntime as ort
from pathlib import Path
from utils.onnx_outputs import extra_output
from utils import onnx_outputs as O
from asr.diarization import community as C, stats, fbank
from asr.diarization.clustering import *
from asr.diarization.vbx import Plda
from asr.diarization.timeline import *
D=Path('/tmp/moon')
T=int(os.environ.get('T','1'))
def session(path,extra=b''):
    so=ort.SessionOptions(); so.intra_op_num_threads=T; so.log_severity_level=3
    return ort.InferenceSession(path.read_bytes()+extra,so,providers=['CPUExecutionProvider'])
def field(name_from,name):
    copy=O._field(O._INPUT,name_from.encode())+O._field(O._OUTPUT,name.encode())+O._field(O._OP,b'Identity')
    return O._field(O._GRAPH,O._field(O._NODE,copy)+O._field(O._GRAPH_OUTPUT,O._field(O._NAME,name.encode())))
seg=ort.InferenceSession((D/'segmentation_ort_data').read_bytes(),(lambda so:(setattr(so,'intra_op_num_threads',T),so)[1])(ort.SessionOptions()),providers=['CPUExecutionProvider'])
emb=session(D/'embedding.onnx',field('/resnet/pool/Reshape_output_0','frames')+field('resnet.seg_1.weight_add_tensor','matrix')+field('resnet.seg_1.bias','bias'))
z=lambda n,t: np.frombuffer((D/n).read_bytes(),t)
plda=Plda.read(mean1=z('xvec_mean1','f8'),mean2=z('xvec_mean2','f4').astype('f8'),lda=z('xvec_lda','f4').astype('f8').reshape(256,128),mu=z('plda_mu','f8'),tr=z('plda_tr','f8').reshape(128,128),psi=z('plda_psi','f8'))
w,b=emb.run(['matrix','bias'],{'fbank':np.zeros((1,200,80),np.float32),'weights':np.ones((1,200),np.float32)})
project=stats.Projection(w,b)
def encode(f):
    n=len(f)
    return emb.run(['frames'],{'fbank':f[None],'weights':np.ones((1,n),np.float32)})[0][0].T
class Rec:
    def __init__(s,a): s.a=a; s.length=len(a); s.channels=1
    def read(s,i,j,channel=None):
        out=np.zeros(j-i,np.float32); part=s.a[i:min(j,s.length)]; out[:len(part)]=part; return out
def segment(x): return seg.run(None,{'waveforms':x})[0]
def hear(rec,step=1.0):
    mean=stats.level(rec,lambda _:None)
    return C.listen(rec,segment,stats.encoded(rec,encode,mean),project,step=step,batch=8,progress=lambda _:None)
def speakers(heard,rec,cl=Clustering(),**kw):
    e=C.vectors(heard)
    if not len(e): return [],[],None
    cent=cl.centroids(e,plda,**kw)
    labels=assign(heard.embeddings.astype(float),heard.speaks,cent)
    frames=round(rec.length/16000/C.GRID.step)
    a,x=C.together(heard,labels,cent,frames)
    d=rec.length/16000
    return turns(a,C.GRID,duration=d),turns(x,C.GRID,duration=d),cent
def load(p): a,_=sf.read(p,dtype='float32'); return Rec(a if a.ndim==1 else a.mean(1))
if __name__=='__main__':
    sys.path.append('/tmp/exp/pya')
    for name in sys.argv[1:]:
        r=load(name); t=time.process_time(); h=hear(r); tt=time.process_time()-t
        a,x,c=speakers(h,r)
        print(name.split('/')[-1],'%.0fs cpu %.1f = %.1fx'%(r.length/16000,tt,r.length/16000/tt),'speakers',0 if c is None else len(c),'turns',len(a),[f'{q.start:.1f}-{q.end:.1f}:{q.speaker}' for q in a[:6]],'rss',resource.getrusage(resource.RUSAGE_SELF).ru_maxrss//1024,flush=True)
